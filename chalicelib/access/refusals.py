"""Why somebody is not let in: a reason for the log, and one sentence for the caller.

This module must never hold what was presented: neither a token, a password nor a part of one.
"""

import enum

from chalicelib.errors import UnauthorizedError


class Reason(enum.StrEnum):
    """What was wrong, in words for a log; a caller is told none of it."""

    HEADER = "the Authorization header can't be read"
    SCHEME = "a scheme other than Basic and Bearer"
    CREDENTIAL_FORM = "no access token of ours: wrong prefix, length or checksum"
    CREDENTIAL_UNKNOWN = "an access token that nobody has"
    CREDENTIAL_REVOKED = "a revoked access token"
    CREDENTIAL_EXPIRED = "an expired access token"
    CREDENTIAL_REPLACED = "from an access token that was replaced since"
    TRUST_GONE = "let in by a trust that is gone, or that lets others in now"
    JWT_LENGTH = "longer than any token of ours"
    JWT_FORM = "no JSON web token"
    JWT_HEADER = "another algorithm than ours, or a header we never write"
    JWT_KEY = "signed with a key that is not in the ring"
    JWT_SIGNATURE = "a wrong signature"
    JWT_ISSUER = "issued by somebody else"
    JWT_AUDIENCE = "meant for another service, or for another use"
    JWT_CLAIMS = "claims are missing, or of another kind"
    JWT_EARLY = "not valid yet"
    JWT_EXPIRED = "expired"
    IDENTITY_LENGTH = "longer than any identity that is looked at"
    IDENTITY_FORM = "no identity token: not three segments, or not of JSON"
    IDENTITY_HEADER = "an identity token of another algorithm than its key's, or without its kid"
    IDENTITY_KEY = "an identity token whose key its issuer does not publish"
    IDENTITY_SIGNATURE = "an identity token with a wrong signature"
    IDENTITY_ISSUER = "an identity of an issuer that no trust names"
    IDENTITY_AUDIENCE = "an identity token meant for another service"
    IDENTITY_SUBJECT = "somebody whom an issuer knows, and no trust names"
    IDENTITY_CLAIMS = "an identity token whose claims are missing, or of another kind"
    IDENTITY_EARLY = "an identity that is not valid yet"
    IDENTITY_EXPIRED = "an expired identity"
    AWS_FORM = "no presigned GetCallerIdentity, or one whose signature does not cover our name"
    AWS_REFUSED = "a presigned GetCallerIdentity that STS refuses: forged, or for another registry"


class AuthenticationError(UnauthorizedError):
    """Nobody we know; `reason` is for the log and differs from what the caller is told."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("the user name, password or token is not valid: log in again")
        self.reason = reason
