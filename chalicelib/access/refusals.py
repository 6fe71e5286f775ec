"""Refused logins: a reason for the log, and one sentence for the client.

This module must never hold what was presented: neither a token, a password nor a part of one.
"""

import enum

from chalicelib.errors import UnauthorizedError


class Reason(enum.StrEnum):
    """Why a login was refused: for the log, and never in an answer."""

    HEADER = "the Authorization header can't be read"
    SCHEME = "a scheme other than Basic and Bearer"
    CREDENTIAL_FORM = "no API token: wrong prefix, length or checksum"
    CREDENTIAL_UNKNOWN = "an unknown API token"
    CREDENTIAL_REVOKED = "a revoked API token"
    CREDENTIAL_EXPIRED = "an expired API token"
    CREDENTIAL_REPLACED = "from an API token that was rotated since"
    TRUST_GONE = "let in by a trust that was removed or changed since"
    JWT_LENGTH = "longer than any token of this registry"
    JWT_FORM = "no JSON web token"
    JWT_HEADER = "another algorithm than this registry's, or a header that it never writes"
    JWT_KEY = "signed with a key that this registry does not have"
    JWT_SIGNATURE = "a wrong signature"
    JWT_ISSUER = "issued by another issuer"
    JWT_AUDIENCE = "meant for another service, or for another use"
    JWT_CLAIMS = "claims are missing, or of another kind"
    JWT_EARLY = "not valid yet"
    JWT_EXPIRED = "expired"
    IDENTITY_LENGTH = "an identity token or AWS proof that is too long"
    IDENTITY_FORM = "no identity token: not three segments, or not of JSON"
    IDENTITY_HEADER = "an identity token of another algorithm than its key's, or without its kid"
    IDENTITY_KEY = "an identity token whose key its issuer does not publish"
    IDENTITY_SIGNATURE = "an identity token with a wrong signature"
    IDENTITY_ISSUER = "an identity of an issuer that no trust names"
    IDENTITY_AUDIENCE = "an identity token meant for another service"
    IDENTITY_SUBJECT = "an identity that no trust names"
    IDENTITY_CLAIMS = "an identity token whose claims are missing, or of another kind"
    IDENTITY_EARLY = "an identity that is not valid yet"
    IDENTITY_EXPIRED = "an expired identity"
    AWS_FORM = "no presigned GetCallerIdentity, or its signature leaves the registry's name out"
    AWS_REFUSED = "a presigned GetCallerIdentity that STS refuses: forged, or for another registry"


class AuthenticationError(UnauthorizedError):
    """A refused login; `reason` is for the log, and the client gets one message for all."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("the user name, password or token is not valid: log in again")
        self.reason = reason
