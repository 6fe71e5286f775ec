"""An image straight from a daemon: a socket that answers as docker's and podman's do."""

from __future__ import annotations

import functools
import gzip
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.moorage.transfer.images import noise, saved
from tests.support.fake_registry import in_background

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from tests.moorage.transfer.conftest import Runner

LAYERS = (noise(100_000), noise(50, 2))


@contextmanager
def daemon(socket: Path, asked: list[str]) -> Iterator[None]:
    """Serve one image by a socket."""

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        if request.path != "/images/team/app:1/get":
            return web.json_response({"message": "No such image"}, status=404)
        return web.Response(body=saved(*LAYERS))

    async def start() -> Callable[[], Awaitable[None]]:
        runner = web.ServerRunner(web.Server(answer, access_log=None))
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        return runner.cleanup

    with in_background(start):
        yield


@pytest.mark.parametrize("setting", ["DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR"])
def test_an_image_is_pushed_from_a_docker_daemon(
    setting: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the socket that a variable names, or podman's usual one."""
    socket = run.folder / "podman/podman.sock"
    socket.parent.mkdir()
    value = str(run.folder) if setting == "XDG_RUNTIME_DIR" else f"unix://{socket}"
    monkeypatch.setenv(setting, value)
    asked: list[str] = []
    with daemon(socket, asked):
        pushed = run("push", "docker-daemon:team/app:1", f"{run.host}/x:1")
        refused = run("push", "docker-daemon:none", f"{run.host}/x:1", fails=True)
    assert run.fake.manifests["x", "1"] == run.fake.manifests["x", pushed.out.strip()]
    assert set(LAYERS) < set(run.fake.blobs.values())
    assert refused.err == (
        f"moorage push: the daemon at {socket} does not give none:latest: No such image\n"
    )
    assert asked == ["/images/team/app:1/get", "/images/none:latest/get"]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("unix:///nowhere/x.sock", "the daemon at /nowhere/x.sock can't be asked"),
        ("tcp://10.0.0.1:2375", "$DOCKER_HOST is no unix:// socket: pipe `docker save` into -"),
    ],
)
def test_a_daemon_that_does_not_answer_is_an_error(
    address: str, told: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line."""
    monkeypatch.setenv("DOCKER_HOST", address)
    refused = run("push", "docker-daemon:x", f"{run.host}/x:1", fails=True)
    assert told in refused.err


@pytest.mark.parametrize("way", ["daemon", "gzip", "--compress"])
def test_a_full_disk_is_an_error_with_advice(
    way: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the image goes through a temporary file."""
    full = functools.partial(Path("/dev/full").open, "r+b", buffering=0)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full())
    archive, socket = run.folder / "saved.tar", run.folder / "docker.sock"
    archive.write_bytes(gzip.compress(saved(*LAYERS)) if way == "gzip" else saved(*LAYERS))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    words = ["docker-daemon:team/app:1"] if way == "daemon" else [f"docker-archive:{archive}"]
    words += [way] if way == "--compress" else []
    with daemon(socket, []):
        refused = run("push", *words, f"{run.host}/x:1", fails=True)
    assert "there is no room for the image in " in refused.err
    assert refused.err.endswith(": set $TMPDIR to a folder on a larger disk\n")
