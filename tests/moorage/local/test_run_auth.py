"""`moorage local --auth` as a person runs it: a registry that asks who is there, all real."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from tests.emulators.backends import moto_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 90.0
REPOSITORY = "team/app"
BLOB = b"a layer"
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"


@dataclass(frozen=True)
class Running:
    """A local registry: what its ready file says, and the process."""

    ready: dict[str, Any]
    process: subprocess.Popen[str]

    def output(self) -> str:
        """End it and return what it printed."""
        self.process.terminate()
        output, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, "")
        return output


def start(folder: Path, *options: str) -> Running:
    """Start `moorage local --auth` on free ports, and wait until it is ready."""
    file = folder / "ready.json"
    process = subprocess.Popen(
        [
            str(Path(sys.executable).with_name("moorage")),
            *("local", "--auth", "--gateway-port", "0", "--proxy-port", "0"),
            *("--ready-file", str(file), *options),
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + _PATIENCE
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)
    return Running(json.loads(file.read_text(encoding="utf-8")), process)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where it writes its files."""
    return tmp_path_factory.mktemp("auth")


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Running]:
    """One registry for all tests that only read, or write what is theirs."""
    started = start(folder, "--admin-token-file", "token")
    yield started
    assert token_of(folder) not in started.output()


def token_of(folder: Path) -> str:
    """Read the admin's access token."""
    return (folder / "token").read_text().strip()


@dataclass(frozen=True)
class Told:
    """An answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


def ask(
    base: str, method: str, target: str, authorization: str | None = None, body: bytes | None = None
) -> Told:
    """Send a request to one of the doors."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=30)
    headers = {"Content-Type": "application/octet-stream"}
    if authorization is not None:
        headers["Authorization"] = authorization
    try:
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        return Told(response.status, response.headers, response.read())
    finally:
        connection.close()


def challenge_of(told: Told) -> dict[str, str]:
    """Read a challenge as clients do."""
    scheme, _, rest = told.headers["WWW-Authenticate"].partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', rest))


def log_in(challenge: dict[str, str], token: str, scope: str | None = None) -> Told:
    """Go where a challenge sends a client, with an access token as the password."""
    realm = urlsplit(challenge["realm"])
    asked = {"service": challenge["service"], "scope": scope or challenge.get("scope", "")}
    basic = base64.b64encode(f"admin:{token}".encode()).decode()
    target = f"{realm.path}?{urlencode(asked)}"
    return ask(f"{realm.scheme}://{realm.netloc}", "GET", target, f"Basic {basic}")


@pytest.mark.parametrize("door", ["gateway", "proxy"])
def test_both_doors_ask_who_is_there(running: Running, door: str) -> None:
    """The challenge of `/v2/` names the token endpoint at the very door, and the one registry."""
    told = ask(running.ready[door], "GET", "/v2/")
    gateway = running.ready["gateway"]
    assert told.status == 401
    assert told.headers["WWW-Authenticate"] == (
        f'Bearer realm="{running.ready[door]}/v2/_token",service="{urlsplit(gateway).netloc}"'
    )
    assert json.loads(told.body)["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("authorization", ["Bearer x.y.z", "Basic Og==", "moor_x", "Bearer"])
def test_a_token_that_is_none_opens_nothing(running: Running, authorization: str) -> None:
    """Whoever isn't known is told to log in."""
    told = ask(running.ready["gateway"], "GET", "/v2/_catalog", authorization)
    assert told.status == 401
    assert "realm" in challenge_of(told)


def test_the_token_file_is_its_owners_alone(running: Running, folder: Path) -> None:
    """It holds one line that nobody else can read, and the ready file says where it is."""
    file = folder / "token"
    assert running.ready["auth"] is True
    assert running.ready["admin_token_file"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"moor_[0-9A-Za-z]{49}\n", file.read_text())


def test_a_client_logs_in_pushes_and_pulls(running: Running, folder: Path) -> None:
    """By the challenges alone: `/v2/` to log in, and the scoped ones for more."""
    proxy, admin = running.ready["proxy"], token_of(folder)
    logged_in = log_in(challenge_of(ask(proxy, "GET", "/v2/")), admin)
    assert logged_in.status == 200
    first = f"Bearer {json.loads(logged_in.body)['token']}"
    assert ask(proxy, "GET", "/v2/", first).status == 200

    refused = ask(proxy, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", first)
    wanted = challenge_of(refused)
    assert refused.status == 401
    assert wanted["scope"] == f"repository:{REPOSITORY}:pull,push"
    bearer = f"Bearer {json.loads(log_in(wanted, admin).body)['token']}"

    opened = ask(proxy, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", bearer, b"")
    assert opened.status == 202
    place = urlsplit(opened.headers["Location"])
    query = f"{place.query}&digest={DIGEST}".lstrip("&")
    assert ask(proxy, "PUT", f"{place.path}?{query}", bearer, BLOB).status == 201
    pulled = ask(proxy, "GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}", bearer)
    assert (pulled.status, pulled.body) == (200, BLOB)

    assert ask(proxy, "GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}").status == 401
    elsewhere = ask(proxy, "GET", f"/v2/other/app/blobs/{DIGEST}", bearer)
    assert elsewhere.status == 401
    assert challenge_of(elsewhere)["scope"] == "repository:other/app:pull"


def test_a_wrong_password_is_refused(running: Running, folder: Path) -> None:
    """The token endpoint is open to everybody, and gives nobody more than is theirs."""
    challenge = challenge_of(ask(running.ready["gateway"], "GET", "/v2/"))
    wrong = token_of(folder)[:-1] + "!"
    assert log_in(challenge, wrong).status == 401
    assert ask(running.ready["gateway"], "PUT", "/v2/_token").status == 403


def test_without_a_file_the_token_is_shown_once(tmp_path: Path) -> None:
    """It is in what is printed, and in no file."""
    running = start(tmp_path)
    challenge = challenge_of(ask(running.ready["gateway"], "GET", "/v2/"))
    assert running.ready["admin_token_file"] is None
    assert [file.name for file in tmp_path.iterdir()] == ["ready.json"]
    process, ready = running.process, running.ready
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    token = next(line.strip() for line in lines if "moor_" in line)
    assert log_in(challenge, token).status == 200
    assert "moor_" not in running.output()
    assert ready["auth"] is True


def test_another_endpoint_keeps_the_admin(tmp_path: Path) -> None:
    """With --aws-endpoint the key and the token stay good when it is started again."""
    with moto_backend() as other:
        options = ("--aws-endpoint", other.endpoint_url, "--admin-token-file", "token")
        first = start(tmp_path, *options)
        token = token_of(tmp_path)
        first.output()
        second = start(tmp_path, *options)
        challenge = challenge_of(ask(second.ready["proxy"], "GET", "/v2/"))
        assert token_of(tmp_path) == token
        assert log_in(challenge, token).status == 200
        second.output()
