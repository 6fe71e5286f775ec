"""How access control begins on this machine: an admin, and a file with a token for its owner."""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import hash_of, verify
from chalicelib.access.grants import Grants
from chalicelib.access.signing_keys import SigningKeySet
from moorage.local import LocalError, access
from tests.moorage.backends import ssm_of, store_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulators.backends import Backend

NOW = 1_800_000_000.0


def place_of(backend: Backend) -> access.AccessBackend:
    """Name a place whose parameter is nobody else's."""
    key = f"/{backend.access_table}/key"
    return access.AccessBackend(
        backend.endpoint_url, backend.environment, backend.access_table, key
    )


def test_setup_makes_a_key_and_an_admin(backend: Backend) -> None:
    """Without a file the token is returned, and written nowhere."""
    place = place_of(backend)
    token = access.set_up(place, None)
    credential = store_of(backend).find(hash_of(token))
    assert credential is not None
    assert (credential.name, credential.owner) == ("admin", "moorage local")
    value = ssm_of(backend).get_parameter(Name=place.signing_key, WithDecryption=True)
    assert SigningKeySet.parse(value["Parameter"]["Value"])


@pytest.mark.parametrize("before", [None, "moor_of-another-registry\n", "\xff" * 3])
def test_the_token_file_is_readable_by_its_owner_only(
    backend: Backend, tmp_path: Path, before: str | None
) -> None:
    """Whatever the umask is, and whatever file was there before."""
    file = tmp_path / "token"
    if before is not None:
        file.write_text(before, encoding="latin-1")
        file.chmod(0o644)
    umask = os.umask(0)
    try:
        token = access.set_up(place_of(backend), file)
    finally:
        os.umask(umask)
    assert file.read_text() == f"{token}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_is_replaced_and_not_followed(backend: Backend, tmp_path: Path) -> None:
    """The link's target stays as it was."""
    elsewhere, link = tmp_path / "elsewhere", tmp_path / "token"
    elsewhere.write_text("untouched")
    link.symlink_to(elsewhere)
    token = access.set_up(place_of(backend), link)
    assert elsewhere.read_text() == "untouched"
    assert not link.is_symlink()
    assert link.read_text() == f"{token}\n"


def test_an_admins_token_that_is_still_good_is_kept(backend: Backend, tmp_path: Path) -> None:
    """There is no new admin each time, and the mode of the file is corrected."""
    place, file = place_of(backend), tmp_path / "token"
    token = access.set_up(place, file)
    file.chmod(0o644)
    assert access.set_up(place, file) == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(store_of(backend).list_credentials(None, 10).items) == 1


@pytest.mark.parametrize("change", ["revoked", "no admin"])
def test_a_token_that_is_revoked_or_no_admins_is_replaced(
    backend: Backend, tmp_path: Path, change: str
) -> None:
    """The file is to hold an admin's token that is good."""
    place, file, store = place_of(backend), tmp_path / "token", store_of(backend)
    token = access.set_up(place, file)
    credential = store.find(hash_of(token))
    assert credential is not None
    if change == "revoked":
        store.revoke(credential.id)
    else:
        store.regrant(credential.id, Grants.parse(["**:pull"]))
    another = access.set_up(place, file)
    assert another != token
    found = store.find(hash_of(another))
    assert found is not None
    assert found.grants.admin
    assert verify(another, found, time.time()) == 1


def test_no_level_of_logging_shows_a_secret(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK would log what it sends; a logger that is quieter is not made louder."""
    place = place_of(backend)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.NOTSET, "botocore"):
        token = access.set_up(place, None)
    key = ssm_of(backend).get_parameter(Name=place.signing_key, WithDecryption=True)
    assert token not in caplog.text
    assert key["Parameter"]["Value"] not in caplog.text
    with caplog.at_level(logging.WARNING), caplog.at_level(logging.NOTSET, "botocore"):
        access.set_up(place, None)
        assert not logging.getLogger("botocore").isEnabledFor(logging.INFO)


def test_a_missing_folder_is_an_error_and_makes_no_admin(backend: Backend, tmp_path: Path) -> None:
    """Nobody would have its token."""
    place = place_of(backend)
    with pytest.raises(OSError, match="missing"):
        access.set_up(place, tmp_path / "missing" / "token")
    assert store_of(backend).list_credentials(None, 10).items == []


def test_a_missing_table_is_an_error(backend: Backend) -> None:
    """It has the code of AWS's error."""
    place = access.AccessBackend(
        backend.endpoint_url, backend.environment, "no-such-table", f"/{backend.access_table}/key"
    )
    with pytest.raises(LocalError, match="ResourceNotFound"):
        access.set_up(place, None)
