"""`moorage local` as a person runs it: moto, gateway and proxy, all real."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from moorage.common.checkout import CHECKOUT
from tests.moorage.local.driver import alive, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 90.0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `moorage local` on free ports, from a directory that isn't the checkout."""
    command = [
        str(Path(sys.executable).with_name("moorage")),
        *("local", "--gateway-port", "0", "--proxy-port", "0"),
        *("--ready-file", "ready.json"),
    ]
    started = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    if started.poll() is None:
        started.kill()
    started.communicate()


def ready(process: subprocess.Popen[str], file: Path) -> dict[str, Any]:
    """Wait for the ready file."""
    deadline = time.monotonic() + _PATIENCE
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


def ask(url: str, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str]]:
    """Send one request; return its status and headers (names in lower case)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        headers = {"Content-Type": "application/octet-stream"}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def test_it_serves_and_stops(process: subprocess.Popen[str], tmp_path: Path) -> None:
    """Both doors answer, a blob pushed by one is found at the other, Ctrl-C ends all with 0."""
    addresses = ready(process, tmp_path / "ready.json")
    for door in ("gateway", "proxy"):
        status, headers = ask(addresses[door], "GET", "/v2/")
        assert (status, headers["docker-distribution-api-version"]) == (200, "registry/2.0")
    assert push_empty_blob(addresses["proxy"]) == 201
    status, headers = ask(addresses["gateway"], "GET", f"/v2/demo/hello/blobs/{EMPTY}")
    assert (status, headers["content-length"]) == (200, "0")
    pids = [pid for pid in addresses["pids"].values() if pid is not None]
    assert len(pids) == 3
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("Moorage is ready.")
    assert not any(alive(pid) for pid in pids)
    assert not (tmp_path / "ready.json").exists()


def test_kill_leaves_nothing(process: subprocess.Popen[str], tmp_path: Path) -> None:
    """After kill -9 the real moto, gateway and proxy end by themselves."""
    addresses = ready(process, tmp_path / "ready.json")
    process.kill()
    wait_until_gone(*addresses["pids"].values())


EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def push_empty_blob(url: str) -> int:
    """Push the blob of no bytes by POST and PUT; return the status of the PUT."""
    status, headers = ask(url, "POST", "/v2/demo/hello/blobs/uploads/", b"")
    assert status == 202
    location = urlsplit(headers["location"])
    query = f"{location.query}&digest={EMPTY}".lstrip("&")
    return ask(url, "PUT", f"{location.path}?{query}", b"")[0]


def test_the_checkout_holds_the_app() -> None:
    """Children run where app.py and infra/ are."""
    assert (CHECKOUT / "app.py").exists()
    assert (CHECKOUT / "infra" / "data.yaml").exists()
