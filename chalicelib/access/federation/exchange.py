"""The exchange: an identity that another issuer vouches for, against a place in this registry.

Build services and AWS roles get their tokens so, without a secret that could leak. What a proof
says of itself, before it is verified, is used once: to see whether a trust names its issuer. This
module must never have anybody asked whom no trust names.
Source: RFC 8693 for the types of tokens.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from chalicelib.access.decision import federated_subject
from chalicelib.access.federation import oidc
from chalicelib.access.federation.aws_identity import AwsCaller, Presigned, parse_presigned
from chalicelib.access.federation.oidc import Identity, KeySets
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust


class TokenType(enum.StrEnum):
    """What can be presented, by its name in `subject_token_type`."""

    ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
    JWT = "urn:ietf:params:oauth:token-type:jwt"
    """The same under another name: some build services call theirs so."""
    AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"
    """The URL of a presigned GetCallerIdentity: see aws_identity.py."""


class Trusts(Protocol):
    """The part of `AccessStore` that has the trusts."""

    def list_trusts(self) -> Sequence[Trust]:
        """See AccessStore."""


class Sts(Protocol):
    """AWS's own word on who signed a request."""

    def caller(self, presigned: Presigned, service: str) -> AwsCaller:
        """Send a presigned request with our name, `service`, and return whom STS names.

        Raises AuthenticationError where STS refuses it, UnavailableError where STS can't be asked.
        """


@dataclass(frozen=True, slots=True)
class Federated:
    """Somebody whom `issuer` knows as `subject`, and the trust that lets them in."""

    issuer: str
    subject: str
    trust: Trust

    @property
    def id(self) -> str:
        """What the principal is called in tokens, sessions and logs."""
        return federated_subject(self.issuer, self.subject)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Exchanges proofs of identity. `service` is this registry's own name: host, or host:port."""

    trusts: Trusts
    key_sets: KeySets
    sts: Sts
    service: str

    def exchange(self, kind: TokenType, presented: str, now: float) -> Federated:
        """Say who presents this proof, and which trust lets them in.

        Grants come of one trust, never of several put together: of the first by name, in byte
        order, that matches. Raises AuthenticationError, and UnavailableError where the issuer
        can't be asked.
        """
        match kind:
            case TokenType.ID_TOKEN | TokenType.JWT:
                return self._by_token(presented, now)
            case TokenType.AWS_IDENTITY:
                return self._by_aws(presented, now)

    def _by_token(self, token: str, now: float) -> Federated:
        issuer = oidc.claimed_issuer(token)
        # A token may name `aws` as its issuer like any other text; that one has no keys.
        trusts = [] if issuer == AWS else self._trusts_in(issuer)
        if not trusts:
            raise AuthenticationError(Reason.IDENTITY_ISSUER)
        # The trust's own text goes on from here, equal as it is to what the token says.
        audiences = frozenset(trust.audience for trust in trusts)
        identity = oidc.verify(token, trusts[0].issuer, audiences, self.key_sets, now)
        return _let_in(identity, trusts)

    def _by_aws(self, url: str, now: float) -> Federated:
        presigned = parse_presigned(url, now)
        trusts = self._trusts_in(AWS)
        if not trusts:
            raise AuthenticationError(Reason.IDENTITY_ISSUER)
        caller = self.sts.caller(presigned, self.service)
        return _let_in(Identity(AWS, frozenset(), caller.arn), trusts)

    def _trusts_in(self, issuer: str) -> list[Trust]:
        """Return the trusts in an issuer, by name."""
        found = [trust for trust in self.trusts.list_trusts() if trust.issuer == issuer]
        return sorted(found, key=lambda trust: trust.name)


def _let_in(identity: Identity, trusts: Sequence[Trust]) -> Federated:
    for trust in trusts:
        if trust.matches(identity.issuer, identity.audiences, identity.subject):
            return Federated(identity.issuer, identity.subject, trust)
    raise AuthenticationError(Reason.IDENTITY_SUBJECT)
