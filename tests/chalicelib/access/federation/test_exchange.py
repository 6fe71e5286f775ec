"""The exchange: which trust lets somebody in, and who is asked for whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.federation.aws_identity import AwsCaller, PresignedCallerIdentity
from chalicelib.access.federation.exchange import SubjectTokenType, TokenExchange
from chalicelib.access.federation.key_sets import parse_key_set
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust
from chalicelib.errors import UnavailableError
from tests.chalicelib.access.values import NOW
from tests.support.issuer import (
    AUDIENCE,
    ISSUER,
    SUBJECT,
    FixedKeySets,
    jwk,
    key_set,
    rsa_key,
    token,
)
from tests.support.memory_access import MemoryAccessStore
from tests.support.presigned import presigned

if TYPE_CHECKING:
    from chalicelib.access.federation.key_sets import KeySet

SERVICE = "registry.example.com:8443"
ARN = "arn:aws:sts::123456789012:assumed-role/ci/run-7"
OTHER = "https://other.example.com"


@dataclass
class FakeSts:
    """An STS that names one caller, or fails, and notes what it was asked."""

    answer: AwsCaller | Exception = field(default_factory=lambda: AwsCaller(ARN, "123456789012"))
    asked: list[tuple[PresignedCallerIdentity, str]] = field(default_factory=list)

    def caller(self, presigned: PresignedCallerIdentity, service: str) -> AwsCaller:
        """Say who it is."""
        self.asked.append((presigned, service))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Place:
    """An exchange and everything that it asks."""

    store: MemoryAccessStore
    keys: FixedKeySets
    sts: FakeSts
    exchange: TokenExchange

    def trust(self, name: str, issuer: str = ISSUER, subject: str = SUBJECT, *,
              audience: str = AUDIENCE, grant: str = "team/**:pull") -> Trust:  # fmt: skip
        """Put a trust."""
        trust = Trust.parse(
            name,
            issuer=issuer,
            audience="" if issuer == AWS else audience,
            subject=subject,
            grants=[grant],
        )
        self.store.put_trust(trust)
        return trust

    def let_in(self, presented: str, kind: SubjectTokenType = SubjectTokenType.ID_TOKEN) -> str:
        """Return the name of the trust that lets somebody in."""
        return self.exchange.exchange(kind, presented, NOW).trust.name

    def reason(self, presented: str, kind: SubjectTokenType = SubjectTokenType.ID_TOKEN) -> Reason:
        """Return why nobody is let in."""
        with pytest.raises(AuthenticationError) as refused:
            self.exchange.exchange(kind, presented, NOW)
        return refused.value.reason


@pytest.fixture
def place() -> Place:
    """An exchange in which nobody is trusted yet."""
    sets: dict[str, KeySet] = {
        ISSUER: parse_key_set(key_set(jwk(rsa_key(), kid="one"))),
        OTHER: parse_key_set(key_set(jwk(rsa_key(1), kid="one"))),
    }
    store, keys, sts = MemoryAccessStore(), FixedKeySets(sets), FakeSts()
    return Place(store, keys, sts, TokenExchange(store, keys, sts, SERVICE))


def test_the_types() -> None:
    """Types have the names that RFC 8693 gives them, and one of our own."""
    assert list(SubjectTokenType) == [
        "urn:ietf:params:oauth:token-type:id_token",
        "urn:ietf:params:oauth:token-type:jwt",
        "urn:moorage:params:oauth:token-type:aws-identity",
    ]


@pytest.mark.parametrize("kind", [SubjectTokenType.ID_TOKEN, SubjectTokenType.JWT])
def test_an_identity_token(place: Place, kind: SubjectTokenType) -> None:
    """Whoever has a token of a trusted issuer is known by issuer and subject, with its grants."""
    trust = place.trust("ci")
    found = place.exchange.exchange(kind, token(), NOW)
    assert (found.issuer, found.subject, found.trust) == (ISSUER, SUBJECT, trust)
    assert found.id == f"federated:{ISSUER}#{SUBJECT}"
    assert place.sts.asked == []


def test_an_aws_identity(place: Place) -> None:
    """Whoever signed a request that STS knows is known by the ARN; STS is told our name."""
    trust = place.trust("ci", AWS, "arn:aws:sts::123456789012:assumed-role/ci/*")
    found = place.exchange.exchange(SubjectTokenType.AWS_IDENTITY, presigned(), NOW)
    assert (found.issuer, found.subject, found.trust) == (AWS, ARN, trust)
    assert found.id == f"federated:aws#{ARN}"
    assert [(asked.url, service) for asked, service in place.sts.asked] == [(presigned(), SERVICE)]
    assert place.keys.asked == []


def test_the_first_trust_by_name_counts(place: Place) -> None:
    """Of several trusts that match, the first by name gives the grants, all of them."""
    place.trust("b", grant="**:pull,push,delete")
    place.trust("c")
    assert place.let_in(token()) == "b"
    trust = place.trust("a", subject="repo:org/*", grant="docs:pull")
    assert place.exchange.exchange(SubjectTokenType.JWT, token(), NOW).trust == trust
    place.trust("0", subject="repo:other/*")
    assert place.let_in(token()) == "a"


def test_each_trust_has_its_own_audience(place: Place) -> None:
    """A token for one trust's audience is not let in by another trust of the same issuer."""
    place.trust("a", audience="a.example.com")
    place.trust("b", audience="b.example.com")
    assert place.let_in(token(aud="b.example.com")) == "b"
    assert place.let_in(token(aud=["b.example.com", "a.example.com"])) == "a"
    assert place.reason(token()) == Reason.IDENTITY_AUDIENCE
    place.trust("a", audience="a.example.com", subject="nobody")
    assert place.reason(token(aud="a.example.com")) == Reason.IDENTITY_SUBJECT


def test_nobody_is_asked_whom_no_trust_names(place: Place) -> None:
    """A token's own word on its issuer has nobody asked, unless a trust says so as well."""
    assert place.reason(token()) == Reason.IDENTITY_ISSUER
    place.trust("ci")
    for issuer in (OTHER, ISSUER + "/", "http://169.254.169.254", AWS, "", f"{ISSUER}@evil"):
        assert place.reason(token(iss=issuer)) == Reason.IDENTITY_ISSUER
    place.trust("aws", AWS, ARN)
    assert place.reason(token(iss=AWS)) == Reason.IDENTITY_ISSUER
    assert place.keys.asked == []


def test_sts_is_not_asked_in_vain(place: Place) -> None:
    """STS is not asked where no trust names AWS, nor about what is no presigned request."""
    place.trust("ci")
    assert place.reason(presigned(), SubjectTokenType.AWS_IDENTITY) == Reason.IDENTITY_ISSUER
    place.trust("aws", AWS, ARN)
    bad = presigned(Action="AssumeRole")
    assert place.reason(bad, SubjectTokenType.AWS_IDENTITY) == Reason.AWS_FORM
    assert place.reason(token(), SubjectTokenType.AWS_IDENTITY) == Reason.AWS_FORM
    assert place.reason(presigned(), SubjectTokenType.ID_TOKEN) == Reason.IDENTITY_FORM
    assert place.sts.asked == []


def test_a_strangers_token(place: Place) -> None:
    """Whoever is trusted for one issuer can't speak for another."""
    place.trust("a")
    place.trust("b", OTHER)
    assert place.let_in(token(rsa_key(1), iss=OTHER)) == "b"
    assert place.reason(token(rsa_key(1))) == Reason.IDENTITY_SIGNATURE
    assert place.reason(token(iss=OTHER)) == Reason.IDENTITY_SIGNATURE


@pytest.mark.parametrize(
    "subject",
    ["repo:org/app2:ref:refs/heads/main", "repo:org/app:ref:refs/heads/main2", "REPO:ORG/APP:x"],
)
def test_other_subjects(place: Place, subject: str) -> None:
    """A trust lets in nobody but whom its pattern names."""
    place.trust("ci")
    assert place.reason(token(sub=subject)) == Reason.IDENTITY_SUBJECT


def test_other_roles(place: Place) -> None:
    """A trust in one role lets in no other, nor the same in another account."""
    place.trust("ci", AWS, "arn:aws:sts::123456789012:assumed-role/ci/*")
    for arn in (ARN.replace("/ci/", "/ci2/"), ARN.replace("123456789012", "210987654321")):
        place.sts.answer = AwsCaller(arn, "123456789012")
        assert place.reason(presigned(), SubjectTokenType.AWS_IDENTITY) == Reason.IDENTITY_SUBJECT


def test_sts_refuses_or_fails(place: Place) -> None:
    """What STS says, or that it says nothing, is passed on as it is."""
    place.trust("ci", AWS, ARN)
    place.sts.answer = AuthenticationError(Reason.AWS_REFUSED)
    assert place.reason(presigned(), SubjectTokenType.AWS_IDENTITY) == Reason.AWS_REFUSED
    place.sts.answer = UnavailableError("x")
    with pytest.raises(UnavailableError):
        place.exchange.exchange(SubjectTokenType.AWS_IDENTITY, presigned(), NOW)


def test_a_trust_that_is_gone(place: Place) -> None:
    """A trust counts until it is deleted, and no longer."""
    place.trust("ci")
    assert place.let_in(token()) == "ci"
    place.store.delete_trust("ci")
    assert place.reason(token()) == Reason.IDENTITY_ISSUER
