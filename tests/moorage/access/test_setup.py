"""How access control begins: a key, an admin, and a file with a token for its owner alone."""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from chalicelib.access.credentials import generate, hash_of, is_access_token, verify
from chalicelib.access.grants import Grants
from chalicelib.access.signing_keys import KeyRing
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.access import setup as access_setup
from moorage.local.backend import BackendError
from tests.emulators.backends import Backend, ministack_backend, moto_backend

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_800_000_000.0


@pytest.fixture(scope="module")
def moto() -> Iterator[Backend]:
    """One moto for all."""
    with moto_backend(strict=False) as started:
        yield started


@pytest.fixture
def backend(moto: Backend) -> Backend:
    """An empty access table."""
    return moto.fresh()


def ssm_of(backend: Backend) -> Any:  # noqa: ANN401 - there are no stubs for SSM here
    """Return a client of SSM."""
    session = boto3.session.Session("local", "local", region_name="us-east-1")
    client: Any = session.client("ssm", endpoint_url=backend.endpoint_url)
    return client


def store_of(backend: Backend) -> DynamoAccessStore:
    """Return the access store."""
    return DynamoAccessStore(backend.dynamodb(), backend.access_table)


def place_of(backend: Backend) -> access_setup.Place:
    """Name a place whose parameter is nobody else's."""
    key = f"/{backend.access_table}/key"
    return access_setup.Place(backend.endpoint_url, backend.environment, backend.access_table, key)


def test_a_key_is_made_once(backend: Backend) -> None:
    """The first time there is a new secret key, and after that nothing changes it."""
    ssm, name = ssm_of(backend), f"/{backend.access_table}/key"
    assert access_setup.ensure_signing_key(ssm, name) is True
    first = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert access_setup.ensure_signing_key(ssm, name) is False
    second = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
    assert first["Type"] == "SecureString"
    assert KeyRing.parse(first["Value"]).other is None
    assert (second["Value"], second["Version"]) == (first["Value"], 1)


def test_an_admin_is_kept_by_its_hash(backend: Backend) -> None:
    """The token opens a credential that may do everything, and the table doesn't hold it."""
    store = store_of(backend)
    token = generate()
    access_setup.create_admin(store, token, "root", "ann", NOW, "an-id")
    assert is_access_token(token)
    credential = store.find(hash_of(token))
    assert credential is not None
    assert (credential.id, credential.name, credential.owner) == ("an-id", "root", "ann")
    assert (credential.grants, credential.created_at) == (Grants(admin=True), NOW)
    assert verify(token, credential, NOW) == 1
    assert token not in str(backend.dynamodb().scan(TableName=backend.access_table)["Items"])


def test_a_local_registry_gets_both(backend: Backend) -> None:
    """Without a file the token is given back, and is found in no folder."""
    place = place_of(backend)
    token = access_setup.set_up(place, None)
    credential = store_of(backend).find(hash_of(token))
    assert credential is not None
    assert (credential.name, credential.owner) == ("admin", "moorage local")
    value = ssm_of(backend).get_parameter(Name=place.signing_key, WithDecryption=True)
    assert KeyRing.parse(value["Parameter"]["Value"])


@pytest.mark.parametrize("before", [None, "moor_of-another-registry\n", "\xff" * 3])
def test_the_file_is_its_owners_alone(backend: Backend, tmp_path: Path, before: str | None) -> None:
    """Mode 0600 whatever the umask, also where a file that others could read was in its place."""
    file = tmp_path / "token"
    if before is not None:
        file.write_text(before, encoding="latin-1")
        file.chmod(0o644)
    umask = os.umask(0)
    try:
        token = access_setup.set_up(place_of(backend), file)
    finally:
        os.umask(umask)
    assert file.read_text() == f"{token}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_replaced_and_not_followed(backend: Backend, tmp_path: Path) -> None:
    """What it points to is left alone."""
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "token"
    elsewhere.write_text("untouched")
    link.symlink_to(elsewhere)
    token = access_setup.set_up(place_of(backend), link)
    assert elsewhere.read_text() == "untouched"
    assert not link.is_symlink()
    assert link.read_text() == f"{token}\n"


def test_a_token_that_still_opens_everything_is_kept(backend: Backend, tmp_path: Path) -> None:
    """Data that is kept gets no new admin each time, and the file's mode is mended."""
    place, file = place_of(backend), tmp_path / "token"
    token = access_setup.set_up(place, file)
    file.chmod(0o644)
    assert access_setup.set_up(place, file) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(store_of(backend).list_credentials(None, 10).items) == 1


@pytest.mark.parametrize("change", ["revoked", "no admin"])
def test_a_token_that_opens_less_is_replaced(backend: Backend, tmp_path: Path, change: str) -> None:
    """The file is to hold an admin's token that can be used."""
    place, file, store = place_of(backend), tmp_path / "token", store_of(backend)
    token = access_setup.set_up(place, file)
    credential = store.find(hash_of(token))
    assert credential is not None
    if change == "revoked":
        store.revoke(credential.id)
    else:
        store.regrant(credential.id, Grants.parse(["**:pull"]))
    another = access_setup.set_up(place, file)
    assert another != token
    found = store.find(hash_of(another))
    assert found is not None
    assert found.grants.admin
    assert verify(another, found, time.time()) == 1


def test_no_level_of_logging_shows_a_secret(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK would log what it sends; and what is quieter already is not made louder."""
    place = place_of(backend)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.NOTSET, "botocore"):
        token = access_setup.set_up(place, None)
    key = ssm_of(backend).get_parameter(Name=place.signing_key, WithDecryption=True)
    assert token not in caplog.text
    assert key["Parameter"]["Value"] not in caplog.text
    with caplog.at_level(logging.WARNING), caplog.at_level(logging.NOTSET, "botocore"):
        access_setup.set_up(place, None)
        assert not logging.getLogger("botocore").isEnabledFor(logging.INFO)


def test_a_folder_that_is_not_there_is_named(backend: Backend, tmp_path: Path) -> None:
    """The error is about the file, and no admin is made whose token nobody has."""
    place = place_of(backend)
    with pytest.raises(OSError, match="missing"):
        access_setup.set_up(place, tmp_path / "missing" / "token")
    store = DynamoAccessStore(backend.dynamodb(), place.table)
    assert store.list_credentials(None, 10).items == []


def test_an_endpoint_without_ssm_is_named() -> None:
    """The error says which endpoint, and what it lacks."""
    with ministack_backend() as backend, pytest.raises(BackendError) as caught:
        access_setup.set_up(place_of(backend), None)
    assert backend.endpoint_url in str(caught.value)
    assert "SSM" in str(caught.value)


def test_a_table_that_is_not_there_is_an_error(backend: Backend) -> None:
    """What the store says is put into words."""
    place = access_setup.Place(
        backend.endpoint_url, backend.environment, "no-such-table", f"/{backend.access_table}/key"
    )
    with pytest.raises(BackendError, match="ResourceNotFound"):
        access_setup.set_up(place, None)
