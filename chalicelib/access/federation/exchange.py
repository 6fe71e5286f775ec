"""Token exchange: verifies an identity of another issuer and finds the trust that lets it in.

Build services and AWS roles log in this way, without a secret that could leak. Only one unverified
claim is used: a proof's issuer, to see whether a trust names it. This module must never send a
request to an issuer that no trust names.
Source: RFC 8693 for the types of tokens.
"""

import enum
from collections.abc import Sequence
from typing import Protocol

from chalicelib.access.decision import Principal, federated_subject, of_trust
from chalicelib.access.federation import oidc
from chalicelib.access.federation.aws_identity import PresignedCallerIdentity, parse_presigned
from chalicelib.access.federation.oidc import KeySets, VerifiedIdentity
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust
from chalicelib.dataclass import dataclass


class SubjectTokenType(enum.StrEnum):
    """The kinds of proof of an identity; the values are those of `subject_token_type`."""

    ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
    JWT = "urn:ietf:params:oauth:token-type:jwt"
    """The same under another name, which some build services send."""
    AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"
    """The URL of a presigned GetCallerIdentity: see aws_identity.py."""


class Sts(Protocol):
    """AWS Security Token Service, which knows who signed a request."""

    def caller(self, presigned: PresignedCallerIdentity, service: str) -> str:
        """Send a presigned request with this registry's name, `service`; return its signer's ARN.

        Raises AuthenticationError where STS refuses it, UnavailableError where STS gives no answer.
        """


@dataclass(frozen=True)
class TokenExchange:
    """Verifies proofs of identity. `service` is this registry's own name: host, or host:port."""

    store: AccessStore
    key_sets: KeySets
    sts: Sts
    service: str

    def exchange(self, kind: SubjectTokenType, presented: str, now: float) -> Principal:
        """Return the principal that a trust makes of the identity that was proven.

        Of several trusts that match, the first by name (in byte order) gives the grants, alone.
        Raises AuthenticationError, and UnavailableError where the issuer gives no answer.
        """
        match kind:
            case SubjectTokenType.ID_TOKEN | SubjectTokenType.JWT:
                return self._by_token(presented, now)
            case SubjectTokenType.AWS_IDENTITY:
                return self._by_aws(presented, now)

    def _by_token(self, token: str, now: float) -> Principal:
        issuer = oidc.claimed_issuer(token)
        # A token may claim the issuer `aws`, like any other text; that issuer has no keys.
        trusts = [] if issuer == AWS else self._trusts_in(issuer)
        if not trusts:
            raise AuthenticationError(Reason.IDENTITY_ISSUER)
        # From here on the trust's own text is used, which equals the token's.
        audiences = frozenset(trust.audience for trust in trusts)
        identity = oidc.verify(token, trusts[0].issuer, audiences, self.key_sets, now)
        return _let_in(identity, trusts)

    def _by_aws(self, url: str, now: float) -> Principal:
        presigned = parse_presigned(url, now)
        trusts = self._trusts_in(AWS)
        if not trusts:
            raise AuthenticationError(Reason.IDENTITY_ISSUER)
        arn = self.sts.caller(presigned, self.service)
        return _let_in(VerifiedIdentity(AWS, frozenset(), arn), trusts)

    def _trusts_in(self, issuer: str) -> list[Trust]:
        """Return the trusts in an issuer, by name."""
        found = [trust for trust in self.store.list_trusts() if trust.issuer == issuer]
        return sorted(found, key=lambda trust: trust.name)


def _let_in(identity: VerifiedIdentity, trusts: Sequence[Trust]) -> Principal:
    for trust in trusts:
        if trust.matches(identity.issuer, identity.audiences, identity.subject):
            return of_trust(federated_subject(identity.issuer, identity.subject), trust)
    raise AuthenticationError(Reason.IDENTITY_SUBJECT)
