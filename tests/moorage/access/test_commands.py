"""The commands that manage access, over DynamoDB: what they print, and what they leave there."""

from __future__ import annotations

import json
import re
import stat
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import Credential, hash_of, is_api_token
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from tests.support.moorage_command import TOKEN, Command, forget_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulators.backends import Backend

DAY = 86400
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture(scope="module")
def backend(strict_moto: Backend) -> Backend:
    """A table that the tests of this module share: they take names of their own."""
    return strict_moto.fresh()


@pytest.fixture
def store(backend: Backend) -> DynamoAccessStore:
    """The registry's own view of the table."""
    return DynamoAccessStore(backend.dynamodb(), backend.access_table)


@pytest.fixture
def moorage(
    backend: Backend,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Command:
    """The command, at the shared table."""
    forget_settings(monkeypatch, tmp_path)
    at_table = ("--aws-endpoint", backend.endpoint_url, "--table", backend.access_table)
    return Command(capsys, at_table)


def found(store: DynamoAccessStore, token: str) -> Credential:
    """Return what is kept of a token."""
    record = store.find(hash_of(token.strip()))
    assert record is not None
    return record


# token create


def test_a_token_is_all_that_stdout_has(moorage: Command, store: DynamoAccessStore) -> None:
    """The token alone is on stdout, to be piped; who it is for is told on stderr."""
    result = moorage("token create only --grant team/**:pull,push --grant base/*:pull --owner ops")
    assert result.status == 0
    assert is_api_token(result.out.removesuffix("\n"))
    record = found(store, result.out)
    assert (record.name, record.owner, record.version) == ("only", "ops", 1)
    assert record.grants.texts() == ["team/**:pull,push", "base/*:pull"]
    assert re.search(rf"made .* only \(id {record.id}\).* expires {MOMENT}", result.err)


@pytest.mark.parametrize(
    ("words", "life"),
    [
        ("", 90 * DAY),
        ("--expires 12h", DAY / 2),
        ("--expires 30m", 1800),
        ("--expires never", None),
    ],
    ids=["by-default", "hours", "minutes", "never"],
)
def test_lives(moorage: Command, store: DynamoAccessStore, words: str, life: float | None) -> None:
    """A token lives 90 days, or as long as is asked."""
    name = f"life-{str(life).replace('.', '-').lower()}"
    record = found(store, moorage(f"token create {name} --admin {words}").out)
    assert record.grants.admin
    if life is None:
        assert record.expires_at is None
    else:
        assert record.expires_at == pytest.approx(time.time() + life, abs=60)


def test_a_token_goes_to_a_file(moorage: Command, store: DynamoAccessStore, tmp_path: Path) -> None:
    """With --token-file it is in the file, for its owner's eyes, and nowhere else."""
    path = tmp_path / "token"
    path.write_text("older\n", encoding="ascii")
    path.chmod(0o644)
    result = moorage(f"token create filed --grant a:pull --token-file {path}")
    assert (result.status, result.out) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert found(store, path.read_text(encoding="ascii")).name == "filed"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_can_not_be_written_leaves_no_token(
    moorage: Command, store: DynamoAccessStore, tmp_path: Path
) -> None:
    """Nothing is made that nobody could have."""
    for path in (tmp_path / "none" / "token", tmp_path):
        result = moorage(f"token create unfiled --grant a:pull --token-file {path}")
        assert (result.status, result.out) == (1, "")
        assert "moorage token create: " in result.err
        assert str(path) in result.err
    names = {one.name for one in store.list_credentials(None, 1000).items}
    assert "unfiled" not in names


def test_a_refused_token_leaves_no_file(moorage: Command, tmp_path: Path) -> None:
    """Where the name is taken, the file stays as it was."""
    moorage("token create taken --grant a:pull")
    path = tmp_path / "token"
    result = moorage(f"token create taken --grant a:pull --token-file {path}")
    assert result.status == 1
    assert "moorage token rotate taken" in result.err
    assert list(tmp_path.iterdir()) == []


# token list


def test_the_list_shows_no_secret(moorage: Command, store: DynamoAccessStore) -> None:
    """A line for each token, with all that is known of it but its hashes."""
    record = found(store, moorage("token create shown --grant a:pull --expires never").out)
    result = moorage("token list")
    head, *lines = result.out.splitlines()
    line = next(line for line in lines if line.startswith("shown "))
    assert result.status == 0
    assert head.split()[:3] == ["NAME", "ID", "STATE"]
    assert re.fullmatch(rf"shown +{record.id} +live +{MOMENT} +never +never +a:pull", line)
    assert not TOKEN.search(result.out)


def test_the_list_for_programs(moorage: Command, store: DynamoAccessStore) -> None:
    """--json gives the same as one JSON list, with times in ISO 8601."""
    record = found(store, moorage("token create json --admin --expires 1d --owner me").out)
    store.touch(record.id, "2026-11-24")
    listed = json.loads(moorage("token list --json").out)
    (shown,) = [one for one in listed if one["id"] == record.id]
    for name in ("created_at", "expires_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", shown.pop(name))
    assert shown == {
        "id": record.id,
        "name": "json",
        "owner": "me",
        "grants": ["admin"],
        "last_used_day": "2026-11-24",
        "state": "live",
        "replaced_until": None,
    }


# token revoke, token rotate


def test_revoking(moorage: Command, store: DynamoAccessStore) -> None:
    """A revoked token says so in the list, and its name is free for another."""
    record = found(store, moorage("token create over --admin").out)
    result = moorage("token revoke over")
    assert (result.status, result.err) == (0, "")
    assert result.out == f"revoked the API token over (id {record.id})\n"
    assert re.search(rf"over +{record.id} +revoked ", moorage("token list").out)
    assert moorage("token create over --admin").status == 0
    assert moorage(f"token revoke {record.id}").status == 0


def test_rotating_prints_the_new_one(moorage: Command, store: DynamoAccessStore) -> None:
    """The new token is on stdout; until when the old one works is told, there and in the list."""
    old = moorage("token create turned --grant a:pull").out
    result = moorage("token rotate turned")
    new = found(store, result.out)
    assert result.status == 0
    assert result.out != old
    assert new == found(store, old)
    assert new.previous_until == pytest.approx(time.time() + DAY, abs=60)
    assert re.search(rf"the old one works until {MOMENT}; the new one expires", result.err)
    assert re.search(rf"{new.id} +live, and replaced until {MOMENT} ", moorage("token list").out)
    again = moorage("token rotate turned --grace 0")
    assert "no longer works, and the one before that no longer does" in again.err
    assert found(store, again.out).previous_until is None


@pytest.mark.parametrize("words", ["token revoke", "token rotate", "grant --admin"])
def test_an_unknown_name_is_status_1(moorage: Command, words: str) -> None:
    """What is not there is told by the name of the command, with where to look."""
    result = moorage(f"{words} nobody")
    assert (result.status, result.out) == (1, "")
    command = words.removesuffix(" --admin")
    assert result.err.startswith(f"moorage {command}: there is no API token 'nobody'")


# grant


def test_granting_replaces_all(moorage: Command, store: DynamoAccessStore) -> None:
    """--grant puts new grants in the place of all, and shows both."""
    record = found(store, moorage("token create regranted --grant a:pull --grant b:push").out)
    result = moorage("grant regranted --grant c/*:delete")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"regranted (id {record.id})",
        "  before  a:pull b:push",
        "  now     c/*:delete",
    ]
    assert moorage(f"grant {record.id} --add a:pull --add c/*:pull --remove c/*:delete").status == 0
    after = store.get(record.id)
    assert after is not None
    assert after.grants.texts() == ["c/*:pull", "a:pull"]
    assert moorage("grant regranted --remove a:push").status == 1


def test_a_revoked_token_is_granted_nothing(moorage: Command) -> None:
    """Nothing brings it back, and the refusal says so."""
    moorage("token create dead --admin")
    moorage("token revoke dead")
    result = moorage("grant dead --grant a:pull")
    assert result.status == 1
    assert "is revoked and stays so" in result.err


# public


def test_public_repositories(moorage: Command, store: DynamoAccessStore) -> None:
    """A repository is public until it is switched off."""
    assert moorage("public open/app").out == (
        "open/app: anybody, without logging in, may pull from it\n"
    )
    assert "open/app\n" in moorage("public --list").out
    assert store.public_among(["open/app"]) == {"open/app"}
    assert moorage("public open/app --off").status == 0
    assert "open/app\n" not in moorage("public --list").out


# trust


def test_trusts(moorage: Command, store: DynamoAccessStore) -> None:
    """A trust is added, shown, replaced only when asked, and removed."""
    words = "trust add main --issuer https://gitlab.com --audience r.example.com --subject"
    assert moorage(f"{words} project_path:a/b:* --grant a/**:push").status == 0
    assert re.search(
        r"main +https://gitlab.com +r.example.com +project_path:a/b:\* +a/\*\*:push",
        moorage("trust list").out,
    )
    assert moorage(f"{words} other --admin").status == 1
    assert moorage(f"{words} other --admin --replace").status == 0
    role = "arn:aws:sts::123456789012:assumed-role/ci/*"
    assert moorage(f"trust add role --issuer aws --subject {role} --grant a:pull").status == 0
    assert json.loads(moorage("trust list --json").out) == [
        {
            "name": "main",
            "issuer": "https://gitlab.com",
            "audience": "r.example.com",
            "subject": "other",
            "grants": ["admin"],
        },
        {
            "name": "role",
            "issuer": "aws",
            "audience": "",
            "subject": role,
            "grants": ["a:pull"],
        },
    ]
    for name in ("main", "role"):
        assert moorage(f"trust remove {name}").status == 0
    assert store.list_trusts() == []
    assert moorage("trust remove main").status == 1
