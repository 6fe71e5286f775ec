"""Logins that docker and podman keep: which file and which entry counts, and what helpers say."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from moorage.common.errors import CommandError
from moorage.transfer.credentials import KeptLogin, kept_login

if TYPE_CHECKING:
    from pathlib import Path

PLACE = "r.example.com:5000/team/app"
HOST = "r.example.com:5000"


def entry(user: str) -> dict[str, str]:
    """Return a login as files have it."""
    return {"auth": base64.b64encode(f"{user}:of {user}:x".encode()).decode()}


def login(user: str) -> KeptLogin:
    """Return what is read of such an entry."""
    return KeptLogin(user, f"of {user}:x")


def write(path: Path, **content: Any) -> None:  # noqa: ANN401 - JSON
    """Write a file of logins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty home."""
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


def helper(folder: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a credential helper on PATH."""
    path = folder / f"bin/docker-credential-{name}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nread host\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ([HOST], HOST),
        ([HOST, f"{HOST}/team"], f"{HOST}/team"),
        ([f"{HOST}/team", PLACE], PLACE),
        ([f"{HOST}/team/other", f"{HOST}/te"], None),
        ([f"https://{HOST}"], f"https://{HOST}"),
        ([f"https://{HOST}/v1/"], f"https://{HOST}/v1/"),
        (["r.example.com"], None),
        ([], None),
    ],
)
def test_the_most_specific_entry_counts(
    variables: dict[str, str], tmp_path: Path, keys: list[str], found: str | None
) -> None:
    """That of the repository, of what it is below, of the registry; never of another one."""
    write(tmp_path / ".docker/config.json", auths={key: entry(key) for key in keys})
    kept = kept_login(PLACE, variables)
    assert (kept.username if kept else None) == (found.partition(":")[0] if found else None)


def test_podmans_files_are_read_before_dockers(variables: dict[str, str], tmp_path: Path) -> None:
    """A file that has no entry is passed over; one that is named counts alone."""
    docker = tmp_path / "docker/config.json"
    write(docker, auths={HOST: entry("docker")})
    variables["DOCKER_CONFIG"] = str(docker.parent)
    assert kept_login(PLACE, variables) == login("docker")
    write(tmp_path / ".config/containers/auth.json", auths={HOST: entry("settings")})
    assert kept_login(PLACE, variables) == login("settings")
    write(tmp_path / "run/containers/auth.json", auths={HOST: entry("runtime")})
    assert kept_login(PLACE, variables) == login("runtime")
    write(tmp_path / "named", auths={})
    variables["REGISTRY_AUTH_FILE"] = str(tmp_path / "named")
    assert kept_login(PLACE, variables) is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"identitytoken": "secret", **entry("me")}, KeptLogin("me", "", "secret")),
        ({"username": "me", "password": "p"}, KeptLogin("me", "p")),
        ({"auth": ""}, None),
        ({}, None),
        ("x", None),
    ],
)
def test_an_entry_has_one_of_several_forms(
    variables: dict[str, str], tmp_path: Path, content: object, expected: KeptLogin | None
) -> None:
    """Docker leaves an empty one where a store has the password."""
    write(tmp_path / ".docker/config.json", auths={HOST: content})
    assert kept_login(PLACE, variables) == expected


@pytest.mark.parametrize("setting", [{"credHelpers": {HOST: "x"}}, {"credsStore": "x"}])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("""echo '{"Username":"me","Secret":"of '$host'"}'""", KeptLogin("me", f"of {HOST}")),
        ("""echo '{"Username":"<token>","Secret":"t"}'""", KeptLogin("", "", "t")),
        ("echo credentials not found in native keychain; exit 1", None),
        ("echo it is locked; exit 1", "gives no login for r.example.com:5000: it is locked"),
        ("echo nonsense", "gives r.example.com:5000's login in no form that is known"),
    ],
)
def test_a_helper_is_asked_for_the_registry(  # noqa: PLR0913 - its fixtures
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, Any],
    script: str,
    expected: KeptLogin | str | None,
) -> None:
    """What it says is taken, and no login is none; other failures are told."""
    helper(tmp_path, "x", script, monkeypatch)
    write(tmp_path / ".docker/config.json", **setting)
    if isinstance(expected, str):
        with pytest.raises(CommandError, match=expected):
            kept_login(PLACE, variables)
    else:
        assert kept_login(PLACE, variables) == expected


def test_a_helper_of_the_registry_comes_before_an_entry(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an entry before the store of all."""
    helper(tmp_path, "x", """echo '{"Username":"helper","Secret":"s"}'""", monkeypatch)
    file = tmp_path / ".docker/config.json"
    write(file, auths={HOST: entry("entry")}, credHelpers={HOST: "x"})
    assert kept_login(PLACE, variables) == KeptLogin("helper", "s")
    write(file, auths={HOST: entry("entry")}, credsStore="x")
    assert kept_login(PLACE, variables) == login("entry")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "it is no JSON"),
        ("[]", "it holds no JSON object"),
        (json.dumps({"auths": {HOST: {"auth": "$$"}}}), "log in again"),
        (json.dumps({"credsStore": "missing"}), "docker-credential-missing, which is not on PATH"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    variables: dict[str, str], tmp_path: Path, text: str, told: str
) -> None:
    """And nothing of its content."""
    file = tmp_path / ".docker/config.json"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(CommandError, match=told) as failed:
        kept_login(PLACE, variables)
    assert str(file) in str(failed.value) or "PATH" in told
    assert "secret" not in repr(KeptLogin("u", "secret", "secret"))


@pytest.mark.parametrize(
    "content",
    [
        {"auths": {"https://index.docker.io/v1/": {"username": "me", "password": "pw"}}},
        {"auths": {"docker.io": {"username": "me", "password": "pw"}}},
        {"credsStore": "x", "auths": {"https://index.docker.io/v1/": {}}},
        {"credHelpers": {"docker.io": "x"}},
        {"credHelpers": {"https://index.docker.io/v1/": "x"}},
    ],
)
def test_the_login_of_docker_hub_is_found_under_each_of_its_names(
    content: dict[str, Any],
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Credential helpers are asked for its oldest name, as docker asks them."""
    script = """[ $host = https://index.docker.io/v1/ ] && echo '{"Username":"me","Secret":"pw"}'"""
    helper(tmp_path, "x", script, monkeypatch)
    write(tmp_path / ".docker/config.json", **content)
    assert kept_login("docker.io/library/alpine", variables) == KeptLogin("me", "pw")
