"""Token exchange: which trust lets an identity in, and which issuer is asked for its keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from chalicelib.access.federation.aws_identity import parse_presigned
from chalicelib.access.federation.exchange import SubjectTokenType, TokenExchange
from chalicelib.access.federation.key_sets import parse_key_set
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust
from chalicelib.errors import UnavailableError
from tests.chalicelib.access.values import NOW, reason_of
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
    from chalicelib.access.decision import Principal

SERVICE = "registry.example.com:8443"
ARN = "arn:aws:sts::123456789012:assumed-role/ci/run-7"
OTHER = "https://other.example.com"
# By the names of RFC 8693, 3, and one of our own: what clients send.
ID_TOKEN = SubjectTokenType("urn:ietf:params:oauth:token-type:id_token")
JWT = SubjectTokenType("urn:ietf:params:oauth:token-type:jwt")
AWS_IDENTITY = SubjectTokenType("urn:moorage:params:oauth:token-type:aws-identity")


@dataclass
class World:
    """An exchange over two issuers and STS."""

    keys: FixedKeySets
    store: MemoryAccessStore = field(default_factory=MemoryAccessStore)
    sts: mock.Mock = field(default_factory=lambda: mock.Mock(spec=["caller"]))

    def __post_init__(self) -> None:
        self.sts.caller.return_value = ARN

    def trust(self, name: str, issuer: str = ISSUER, subject: str = SUBJECT, *,
              audience: str = AUDIENCE, grant: str = "team/**:pull") -> Trust:  # fmt: skip
        """Put a trust."""
        audience = "" if issuer == AWS else audience
        trust = Trust.parse(name, issuer=issuer, audience=audience, subject=subject, grants=[grant])
        self.store.put_trust(trust)
        return trust

    def exchange(self, presented: str, kind: SubjectTokenType = ID_TOKEN) -> Principal:
        """Exchange a proof."""
        exchange = TokenExchange(self.store, self.keys, self.sts, SERVICE)
        return exchange.exchange(kind, presented, NOW)

    def reason(self, presented: str, kind: SubjectTokenType = ID_TOKEN) -> Reason:
        """Return why a proof is refused."""
        return reason_of(self.exchange, presented, kind)


@pytest.fixture
def world() -> World:
    """A world without trusts."""
    rows = {ISSUER: jwk(rsa_key(), kid="one"), OTHER: jwk(rsa_key(1), kid="one")}
    sets = {issuer: parse_key_set(key_set(row)) for issuer, row in rows.items()}
    return World(FixedKeySets(sets))


@pytest.mark.parametrize("kind", [ID_TOKEN, JWT])
def test_an_identity_token_of_a_trusted_issuer_is_let_in(
    world: World, kind: SubjectTokenType
) -> None:
    """The identity is named by issuer and subject; STS is not asked."""
    trust = world.trust("ci")
    found = world.exchange(token(), kind)
    assert (found.source, found.grants) == (trust.name, trust.grants)
    assert found.id == f"federated:{ISSUER}#{SUBJECT}"
    world.sts.caller.assert_not_called()


def test_an_aws_identity_is_let_in(world: World) -> None:
    """It is named by the ARN; STS is sent this registry's name."""
    trust = world.trust("ci", AWS, "arn:aws:sts::123456789012:assumed-role/ci/*")
    found = world.exchange(presigned(), AWS_IDENTITY)
    assert (found.source, found.grants) == (trust.name, trust.grants)
    assert found.id == f"federated:aws#{ARN}"
    world.sts.caller.assert_called_once_with(parse_presigned(presigned(), NOW), SERVICE)
    assert world.keys.asked == []


def test_the_first_trust_by_name_gives_the_grants(world: World) -> None:
    """Of several that match and are there still; the grants of the others are not added."""
    world.trust("b", grant="**:pull,push,delete")
    world.trust("c")
    assert world.exchange(token()).source == "b"
    trust = world.trust("a", subject="repo:org/*", grant="docs:pull")
    assert world.exchange(token()).source == trust.name
    world.trust("0", subject="repo:other/*")
    assert world.exchange(token()).source == trust.name
    for name in "abc":
        world.store.delete_trust(name)
    assert world.reason(token()) == Reason.IDENTITY_SUBJECT


def test_each_trust_has_its_own_audience(world: World) -> None:
    """A token for one trust's audience is not let in by another trust of the same issuer."""
    world.trust("a", audience="a.example.com")
    world.trust("b", audience="b.example.com")
    assert world.exchange(token(aud="b.example.com")).source == "b"
    assert world.exchange(token(aud=["b.example.com", "a.example.com"])).source == "a"
    assert world.reason(token()) == Reason.IDENTITY_AUDIENCE
    world.trust("a", audience="a.example.com", subject="nobody")
    assert world.reason(token(aud="a.example.com")) == Reason.IDENTITY_SUBJECT


def test_an_issuer_that_no_trust_names_is_not_asked(world: World) -> None:
    """Whatever the token claims, and whether a trust in AWS is there or not."""
    assert world.reason(token()) == Reason.IDENTITY_ISSUER
    world.trust("ci")
    for issuer in (OTHER, ISSUER + "/", "http://169.254.169.254", AWS, "", f"{ISSUER}@evil"):
        assert world.reason(token(iss=issuer)) == Reason.IDENTITY_ISSUER
    world.trust("aws", AWS, ARN)
    assert world.reason(token(iss=AWS)) == Reason.IDENTITY_ISSUER
    assert world.keys.asked == []


def test_sts_is_asked_only_with_a_trust_and_a_presigned_request(world: World) -> None:
    """Not where no trust names AWS, nor about another proof."""
    world.trust("ci")
    assert world.reason(presigned(), AWS_IDENTITY) == Reason.IDENTITY_ISSUER
    world.trust("aws", AWS, ARN)
    assert world.reason(presigned(Action="AssumeRole"), AWS_IDENTITY) == Reason.AWS_FORM
    assert world.reason(token(), AWS_IDENTITY) == Reason.AWS_FORM
    assert world.reason(presigned()) == Reason.IDENTITY_FORM
    world.sts.caller.assert_not_called()


def test_one_trusted_issuer_cannot_sign_for_another(world: World) -> None:
    """Each issuer's tokens are verified by its own keys."""
    world.trust("a")
    world.trust("b", OTHER)
    assert world.exchange(token(rsa_key(1), iss=OTHER)).source == "b"
    assert world.reason(token(rsa_key(1))) == Reason.IDENTITY_SIGNATURE
    assert world.reason(token(iss=OTHER)) == Reason.IDENTITY_SIGNATURE


def test_a_subject_that_no_trust_names_is_refused(world: World) -> None:
    """Another repository, branch, letter case, role, or account."""
    world.trust("ci")
    for subject in (SUBJECT.replace("/app", "/app2"), SUBJECT + "2", "REPO:ORG/APP:x"):
        assert world.reason(token(sub=subject)) == Reason.IDENTITY_SUBJECT
    world.trust("aws", AWS, "arn:aws:sts::123456789012:assumed-role/ci/*")
    for arn in (ARN.replace("/ci/", "/ci2/"), ARN.replace("123456789012", "210987654321")):
        world.sts.caller.return_value = arn
        assert world.reason(presigned(), AWS_IDENTITY) == Reason.IDENTITY_SUBJECT


def test_a_refusal_and_a_failure_of_sts_are_passed_on(world: World) -> None:
    """As the error that each of them is."""
    world.trust("ci", AWS, ARN)
    world.sts.caller.side_effect = AuthenticationError(Reason.AWS_REFUSED)
    assert world.reason(presigned(), AWS_IDENTITY) == Reason.AWS_REFUSED
    world.sts.caller.side_effect = UnavailableError("x")
    with pytest.raises(UnavailableError):
        world.exchange(presigned(), AWS_IDENTITY)
