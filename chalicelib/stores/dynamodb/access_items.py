"""What each item of the table `access` holds: one row for each attribute.

This module must never do I/O. An attribute's name is the field's own; `keys.py` draws the keys.
"""

from chalicelib.access.credentials import Credential
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import Trust, parse_issuer, parse_subject
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.codec import AttributeKind, Field, Schema

GRANTS: AttributeKind[Grants] = AttributeKind(
    "L",
    lambda grants: [codec.TEXT.encode(text) for text in grants.texts()],
    lambda attributes: Grants.parse(codec.TEXT.decode(attribute) for attribute in attributes),
)

CREDENTIAL = Schema(
    Credential,
    (
        Field("id", codec.TEXT, attribute="sk"),
        Field("name", codec.TEXT),
        Field("owner", codec.TEXT),
        Field("created_at", codec.TIME),
        Field("grants", GRANTS),
        Field("secret_hash", codec.TEXT),
        Field("version", codec.WHOLE),
        Field("expires_at", codec.TIME, optional=True),
        Field("last_used_day", codec.TEXT, optional=True),
        Field("revoked", codec.FLAG),
        Field("previous_hash", codec.TEXT, optional=True),
        Field("previous_until", codec.TIME, optional=True),
    ),
)

# Read as strictly as they were written: a corrupt pattern must not let anybody in.
TRUST = Schema(
    Trust,
    (
        Field("name", codec.TEXT, attribute="sk"),
        Field("issuer", AttributeKind("S", str, parse_issuer)),
        Field("audience", codec.TEXT),
        Field("subject", AttributeKind("S", str, parse_subject)),
        Field("grants", GRANTS),
    ),
)
