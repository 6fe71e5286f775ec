"""How access control begins: a key that signs tokens, and the first access token, an admin's.

This module must never replace a key or an access token that is there, nor show one: it is given
back once, to whoever asked for it.
"""

import time
import uuid
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.access.credentials import Credential, generate, hash_of, verify
from chalicelib.access.grants import Grants
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import RefusedError
from chalicelib.errors import RegistryError
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.access import signing_key
from moorage.common.aws import AWS_ERRORS, quiet_sdk
from moorage.common.secret_file import placed
from moorage.local.backend import BackendError, client

SIGNING_KEY = "/moorage/signing-key"
"""The parameter that holds the key, unless somebody names another: infra/api.merge.yaml too."""

ADMIN_NAME = "admin"
_OWNER = "moorage local"
_LONGEST_TOKEN_FILE = 4096


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
    """Make a credential that may do everything, whose secret is this access token.

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a local registry's access is kept; `environment` gives credentials and region."""

    endpoint_url: str
    environment: Mapping[str, str]
    table: str
    signing_key: str = SIGNING_KEY


def set_up(place: Place, token_file: Path | None) -> str:
    """Begin access control for a local registry, and return an access token of an admin's.

    With `token_file` the token is put there, mode 0600, and one that is there and still opens
    everything is kept: data that is kept gets no new admin at each start. Raises BackendError,
    and OSError when the file can't be written.
    """
    quiet_sdk()
    ssm, dynamodb = (
        client(service, place.endpoint_url, place.environment) for service in ("ssm", "dynamodb")
    )
    store = DynamoAccessStore(dynamodb, place.table)
    try:
        ensure_signing_key(ssm, place.signing_key)
        return _admin(store, token_file, time.time())
    except (*AWS_ERRORS, RegistryError) as error:
        cause = error.__cause__ if isinstance(error, RegistryError) else error
        raise BackendError(
            f"access control could not be set up at {place.endpoint_url}: it needs SSM (Parameter"
            f" Store) and DynamoDB there: {' '.join(str(cause or error).split())}"
        ) from error


def _admin(store: AccessStore, token_file: Path | None, now: float) -> str:
    kept = _kept(store, token_file, now)
    token = kept or generate()
    # The file first: an admin whose token nobody has is of no use, and not without danger.
    with nullcontext() if token_file is None else placed(token_file, token):
        if kept is None:
            create_admin(store, token, ADMIN_NAME, _OWNER, now, uuid.uuid4().hex)
    return token


def _kept(store: AccessStore, token_file: Path | None, now: float) -> str | None:
    """Return the access token in a file, if it is an admin's and can be used."""
    if token_file is None:
        return None
    try:
        token = token_file.read_bytes()[:_LONGEST_TOKEN_FILE].decode("ascii").strip()
    except (OSError, UnicodeError):
        return None
    record = store.find(hash_of(token))
    if record is None or not record.grants.admin:
        return None
    try:
        verify(token, record, now)
    except RefusedError:
        return None
    return token
