"""How access control begins: a key that signs tokens, and the first API token, an admin's.

This module must never replace a key or an API token that is there, nor show one: it is given
back once, to the caller.
"""

import time
from typing import Any

from chalicelib.access.credentials import Credential, hash_of
from chalicelib.access.grants import Grants
from chalicelib.access.ports import AccessStore
from moorage.access import signing_key

SIGNING_KEY = "/moorage/signing-key"
"""The parameter that holds the key, unless somebody names another: infra/api.merge.yaml too."""

ADMIN_NAME = "admin"


def ensure_signing_key(ssm: Any, name: str) -> bool:  # noqa: ANN401 - boto3's clients are made at run time
    """Store a new signing key under `name` if nothing is there; return whether it was.

    One conditional write: of two who do this at once, one key is both's. Raises ClientError.
    """
    try:
        signing_key.create(ssm, name, time.time())
    except signing_key.SigningKeyError:
        return False
    return True


def create_admin(  # noqa: PLR0913 - what a credential has
    store: AccessStore, token: str, name: str, owner: str, now: float, new_id: str
) -> None:
    """Make a credential that may do everything, whose secret is this API token.

    `now` is in seconds since the epoch. Raises what the store does.
    """
    store.create(
        Credential(
            id=new_id,
            name=name,
            owner=owner,
            created_at=now,
            grants=Grants(admin=True),
            secret_hash=hash_of(token),
        )
    )
