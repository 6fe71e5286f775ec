"""The commands that manage access, over DynamoDB: what they print, and what they leave there."""

from __future__ import annotations

import json
import re
import stat
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import Credential, hash_of, is_api_token
from tests.moorage.backends import store_of
from tests.support.moorage_command import TOKEN, Command

if TYPE_CHECKING:
    from pathlib import Path

    from chalicelib.stores.dynamodb.access import DynamoAccessStore
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
    return store_of(backend)


@pytest.fixture
def at_table(moorage: Command, backend: Backend) -> Command:
    """The command, at the shared table."""
    place = ("--aws-endpoint", backend.endpoint_url, "--table", backend.access_table)
    return Command(moorage.captured, place)


def found(store: DynamoAccessStore, token: str) -> Credential:
    """Return what is kept of a token."""
    record = store.find(hash_of(token.strip()))
    assert record is not None
    return record


# token create


def test_stdout_has_only_the_token(at_table: Command, store: DynamoAccessStore) -> None:
    """Stderr says for whom it is."""
    result = at_table("token create only --grant team/**:pull,push --grant base/*:pull --owner ops")
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
def test_a_token_expires_after_90_days_or_as_requested(
    at_table: Command, store: DynamoAccessStore, words: str, life: float | None
) -> None:
    """A token lives 90 days, or as long as is asked."""
    name = f"life-{str(life).replace('.', '-').lower()}"
    record = found(store, at_table(f"token create {name} --admin {words}").out)
    end = None if life is None else pytest.approx(time.time() + life, abs=60)
    assert record.grants.texts() == ["admin"]
    assert record.expires_at == end


def test_a_token_goes_to_a_file(
    at_table: Command, store: DynamoAccessStore, tmp_path: Path
) -> None:
    """With --token-file it is in the file, for its owner's eyes, and nowhere else."""
    path = tmp_path / "token"
    path.write_text("older\n", encoding="ascii")
    path.chmod(0o644)
    for words in ("create filed --grant a:pull", "rotate filed"):
        result = at_table(f"token {words} --token-file {path}")
        assert (result.status, result.out) == (0, "")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert found(store, path.read_text(encoding="ascii")).name == "filed"
        assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_can_not_be_written_leaves_no_token(
    at_table: Command, store: DynamoAccessStore, tmp_path: Path
) -> None:
    """Nothing is made that nobody could have; and where the name is taken, there is no file."""
    for path in (tmp_path / "none" / "token", tmp_path):
        result = at_table(f"token create unfiled --grant a:pull --token-file {path}")
        assert (result.status, result.out) == (1, "")
        assert re.search(rf"^moorage token create: .*{path}", result.err)
    assert "unfiled" not in {one.name for one in store.list_credentials(None, 1000).items}
    at_table("token create taken --grant a:pull")
    result = at_table(f"token create taken --grant a:pull --token-file {tmp_path / 'token'}")
    assert result.status == 1
    assert "moorage token rotate taken" in result.err
    assert list(tmp_path.iterdir()) == []


# token list


def test_the_list_shows_no_secret(at_table: Command, store: DynamoAccessStore) -> None:
    """A line for each token, with all that is known of it but its hashes."""
    record = found(store, at_table("token create shown --grant a:pull --expires never").out)
    result = at_table("token list")
    head, *lines = result.out.splitlines()
    line = next(line for line in lines if line.startswith("shown "))
    assert result.status == 0
    assert head.split()[:3] == ["NAME", "ID", "STATE"]
    assert re.fullmatch(rf"shown +{record.id} +live +{MOMENT} +never +never +a:pull", line)
    assert not TOKEN.search(result.out)


def test_the_list_for_programs(at_table: Command, store: DynamoAccessStore) -> None:
    """--json gives the same as one JSON list, with times in ISO 8601."""
    record = found(store, at_table("token create json --admin --expires 1d --owner me").out)
    store.touch(record.id, "2026-11-24")
    listed = json.loads(at_table("token list --json").out)
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


def test_a_revoked_token_is_listed_and_its_name_is_free(
    at_table: Command, store: DynamoAccessStore
) -> None:
    """It gets no grants."""
    record = found(store, at_table("token create over --admin").out)
    result = at_table("token revoke over")
    assert (result.status, result.err) == (0, "")
    assert result.out == f"revoked the API token over (id {record.id})\n"
    assert re.search(rf"over +{record.id} +revoked ", at_table("token list").out)
    refused = at_table("grant over --grant a:pull")
    assert refused.status == 1
    assert "is revoked and stays so" in refused.err
    assert at_table("token create over --admin").status == 0
    assert at_table(f"token revoke {record.id}").status == 0


def test_rotating_prints_the_new_token(at_table: Command, store: DynamoAccessStore) -> None:
    """Stderr and the list say until when the old one works."""
    old = at_table("token create turned --grant a:pull").out
    result = at_table("token rotate turned")
    new = found(store, result.out)
    assert result.status == 0
    assert result.out != old
    assert new == found(store, old)
    assert new.previous_until == pytest.approx(time.time() + DAY, abs=60)
    assert re.search(rf"the old one works until {MOMENT}; the new one expires", result.err)
    assert re.search(rf"{new.id} +live, and replaced until {MOMENT} ", at_table("token list").out)
    again = at_table("token rotate turned --grace 0")
    assert "no longer works, and the one before that no longer does" in again.err
    assert found(store, again.out).previous_until is None


@pytest.mark.parametrize("command", ["token revoke", "token rotate", "grant"])
def test_an_unknown_name_is_status_1(at_table: Command, command: str) -> None:
    """The error has the name of the command, and says where to look."""
    result = at_table(f"{command} nobody {'--admin' if command == 'grant' else ''}")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"moorage {command}: there is no API token 'nobody': `moorage tok")


# grant, public, trust


def test_grant_replaces_all_grants(at_table: Command, store: DynamoAccessStore) -> None:
    """--grant shows the grants before and after."""
    record = found(store, at_table("token create regranted --grant a:pull --grant b:push").out)
    result = at_table("grant regranted --grant c/*:delete")
    assert (result.status, result.err) == (0, "")
    assert result.out.splitlines() == [
        f"regranted (id {record.id})",
        "  before  a:pull b:push",
        "  now     c/*:delete",
    ]
    words = f"grant {record.id} --add a:pull --add c/*:pull --remove c/*:delete"
    assert at_table(words).status == 0
    after = store.get(record.id)
    assert after is not None
    assert after.grants.texts() == ["c/*:pull", "a:pull"]
    assert at_table("grant regranted --remove a:push").status == 1
    assert at_table("grant regranted --admin --grant a:pull").out.endswith("admin a:pull\n")


def test_a_repository_is_public_until_it_is_switched_off(
    at_table: Command, store: DynamoAccessStore
) -> None:
    """A repository is public until it is switched off."""
    shown = at_table("public open/app")
    assert shown.out == "open/app: anybody, without logging in, may pull from it\n"
    assert at_table("public --list").out == "open/app\n"
    assert json.loads(at_table("public --list --json").out) == ["open/app"]
    assert store.public_among(["open/app"]) == {"open/app"}
    assert at_table("public open/app --off").status == 0
    assert at_table("public --list").out == ""


def test_a_trust_is_added_shown_replaced_and_removed(
    at_table: Command, store: DynamoAccessStore
) -> None:
    """It is replaced only by an option, and removed once."""
    words = "trust add main --issuer https://gitlab.com --audience r.example.com --subject"
    assert at_table(f"{words} project_path:a/b:* --grant a/**:push").status == 0
    assert re.search(
        r"main +https://gitlab.com +r.example.com +project_path:a/b:\* +a/\*\*:push",
        at_table("trust list").out,
    )
    refused = at_table(f"{words} other --admin")
    assert (refused.status, "--replace" in refused.err) == (1, True)
    assert [trust.subject for trust in store.list_trusts()] == ["project_path:a/b:*"]
    assert at_table(f"{words} other --admin --replace").status == 0
    role = "arn:aws:sts::123456789012:assumed-role/ci/*"
    assert at_table(f"trust add role --issuer aws --subject {role} --grant a:pull").status == 0
    rows = [
        ("main", "https://gitlab.com", "r.example.com", "other", ["admin"]),
        ("role", "aws", "", role, ["a:pull"]),
    ]
    names = ("name", "issuer", "audience", "subject", "grants")
    expected = [dict(zip(names, row, strict=True)) for row in rows]
    assert json.loads(at_table("trust list --json").out) == expected
    for name in ("main", "role"):
        assert at_table(f"trust remove {name}").status == 0
    assert store.list_trusts() == []
    again = at_table("trust remove main")
    assert again.status == 1
    assert "`moorage trust list` shows them" in again.err
