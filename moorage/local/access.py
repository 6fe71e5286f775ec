"""Sets up a local registry's access control: a signing key, and an admin with an API token.

This module must never replace an API token that is there and still works.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chalicelib.access.credentials import generate, hash_of, verify
from chalicelib.access.ports import AccessStore
from chalicelib.access.refusals import AuthenticationError
from chalicelib.errors import RegistryError
from moorage.access import signing_key
from moorage.access.admin import create_admin, open_store
from moorage.common.aws import AWS_ERRORS, quiet_sdk
from moorage.common.data import SIGNING_KEY
from moorage.common.secret_file import placed
from moorage.local import LocalError
from moorage.local.backend import client

_OWNER = "moorage local"
_LONGEST_TOKEN_FILE = 4096


@dataclass(frozen=True, slots=True)
class AccessBackend:
    """Where credentials and the signing key are; `environment` gives AWS credentials and region."""

    endpoint_url: str
    environment: Mapping[str, str]
    table: str
    signing_key: str = SIGNING_KEY


def set_up(where: AccessBackend, token_file: Path | None) -> str:
    """Set up access control, and return the API token of an admin.

    With `token_file` the token is written there, mode 0600. An admin's token that is there and
    still good is kept: data that outlives a start gets no new admin each time. Raises LocalError,
    and OSError when the file can't be written.
    """
    quiet_sdk()
    ssm, dynamodb = (
        client(service, where.endpoint_url, where.environment) for service in ("ssm", "dynamodb")
    )
    store = open_store(dynamodb, where.table)
    try:
        signing_key.ensure(ssm, where.signing_key)
        return _admin(store, token_file, time.time())
    except (*AWS_ERRORS, RegistryError) as error:
        cause = error.__cause__ if isinstance(error, RegistryError) else error
        raise LocalError(
            f"access control could not be set up at {where.endpoint_url}: it needs SSM (Parameter"
            f" Store) and DynamoDB there: {' '.join(str(cause or error).split())}"
        ) from error


def _admin(store: AccessStore, token_file: Path | None, now: float) -> str:
    kept = _kept(store, token_file, now)
    token = kept or generate()
    # The file first: an admin whose token nobody has is useless, and a risk.
    with placed(token_file, token):
        if kept is None:
            create_admin(store, token, _OWNER, now)
    return token


def _kept(store: AccessStore, token_file: Path | None, now: float) -> str | None:
    """Return the API token in a file, if it is an admin's and still good."""
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
    except AuthenticationError:
        return None
    return token
