"""How access control begins: a key that is made once, and an admin of whom a hash is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.access.credentials import generate, hash_of, is_api_token, verify
from chalicelib.access.grants import Grants
from chalicelib.access.signing_keys import SigningKeySet
from moorage.access import setup as access_setup
from tests.moorage.backends import ssm_of, store_of

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

NOW = 1_800_000_000.0


def test_a_key_is_made_once(backend: Backend) -> None:
    """The first time there is a new secret key, and after that nothing changes it."""
    ssm, name = ssm_of(backend), f"/{backend.access_table}/key"
    assert access_setup.ensure_signing_key(ssm, name) is True
    first = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert access_setup.ensure_signing_key(ssm, name) is False
    second = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert first["Type"] == "SecureString"
    assert SigningKeySet.parse(first["Value"]).other is None
    assert (second["Value"], second["Version"]) == (first["Value"], 1)


def test_an_admin_is_kept_by_its_hash(backend: Backend) -> None:
    """The token opens a credential that may do everything, and the table doesn't hold it."""
    store = store_of(backend)
    token = generate()
    access_setup.create_admin(store, token, "root", "ann", NOW, "an-id")
    assert is_api_token(token)
    credential = store.find(hash_of(token))
    assert credential is not None
    assert (credential.id, credential.name, credential.owner) == ("an-id", "root", "ann")
    assert (credential.grants, credential.created_at) == (Grants(admin=True), NOW)
    assert verify(token, credential, NOW) == 1
    assert token not in str(backend.dynamodb().scan(TableName=backend.access_table)["Items"])
