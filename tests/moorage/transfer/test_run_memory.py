"""The memory that a transfer takes doesn't grow with the image: large layers, counted."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest
from tests.moorage.transfer.images import CONFIG_TYPE, LAYER_TYPE
from tests.support.fake_registry import run_handler

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST = 150 * 1024
"""What a transfer may have in memory, in KiB: 120 MiB are usual, with Python and its modules.

Layers are so large that whoever keeps one of them, or a twentieth of what is pushed, has more.
"""
LAYERS, SIZE = 4, 300 * 1024 * 1024
PULLED = 200 * 1024 * 1024
DIRECT = (600 * 1024 * 1024, *[60 * 1024 * 1024] * 5)
"""Layers for direct uploads: one in parts, five by one PUT each."""
RULES = {
    "minimum": 5 * 1024 * 1024,
    "maximum": 5 * 1024**3,
    "count": 10_000,
    "multiple": 64,
    "batch": 100,
}
_ZEROS = bytes(256 * 1024)


class CountingRegistry:
    """Takes any layer and counts its bytes; gives layers of zeros. It keeps nothing but numbers."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.given = 0
        self.manifest = b""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        size = 0
        while piece := await request.content.readany():
            size += len(piece)
            if "/manifests/" in request.path:
                self.manifest = piece
        if "/manifests/" in request.path:
            if request.method == "PUT":
                return web.Response(status=201)
            return web.Response(body=self.manifest, content_type=MediaType.OCI_MANIFEST)
        if request.method == "POST":
            return web.Response(status=202, headers={"Location": f"{request.path}{id(request)}"})
        if request.method in {"PATCH", "PUT"}:
            self.taken[request.path] += size
            told = f"0-{self.taken[request.path] - 1}"
            status = 202 if request.method == "PATCH" else 201
            return web.Response(status=status, headers={"Range": told, "Location": request.path})
        if request.method == "HEAD" or "/_" in request.path:
            return web.Response(status=404)
        return await self._give(request) if "/blobs/" in request.path else web.Response()

    async def _give(self, request: web.BaseRequest) -> web.StreamResponse:
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"])
        assert found is not None
        left = int(found[2]) - int(found[1]) + 1
        response = web.StreamResponse(
            status=206, headers={"Content-Range": f"bytes {found[1]}-{found[2]}/*"}
        )
        response.content_length = left
        await response.prepare(request)
        self.given += left
        while left:
            await response.write(_ZEROS[: min(left, len(_ZEROS))])
            left -= min(left, len(_ZEROS))
        return response


class CountingStorage(CountingRegistry):
    """It has direct uploads, too."""

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Open a session, give the URLs that are asked for, count a PUT, or commit."""
        if request.path.startswith("/put/"):
            while piece := await request.content.readany():
                self.taken[request.path] += len(piece)
            return web.Response()
        if "/_" not in request.path:
            return await super().answer(request)
        if request.method == "GET":
            return web.json_response({"extensions": [{"name": "_moorage"}]})
        if request.method == "PUT":
            return web.Response(status=201)
        base = f"{request.scheme}://{request.host}/put"
        if request.path.endswith("/parts"):
            wanted = json.loads(await request.content.read())["parts"]
            given = [{**part, **self._put(base, **part)} for part in wanted]
            return web.json_response({"parts": given})
        told: dict[str, object] = {"state": "direct", "parts": RULES}
        if "parts" not in request.query:
            told["put"] = self._put(base, "whole", request.query["size"])
        location = {"Location": f"{request.path}{id(request)}"}
        return web.json_response(told, status=201, headers=location)

    @staticmethod
    def _put(base: str, number: object, size: object) -> dict[str, object]:
        headers = {"Content-Length": str(size)}
        return {"url": f"{base}/{number}", "headers": headers, "expires_in": 900}


def manifest_of(*layers: tuple[str, int]) -> bytes:
    """Return a manifest of layers: digests and sizes."""
    config = {"mediaType": CONFIG_TYPE, "digest": str(Digest.of(b"\0" * 9)), "size": 9}
    content = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_MANIFEST,
        "config": config,
        "layers": [
            {"mediaType": LAYER_TYPE, "digest": digest, "size": size} for digest, size in layers
        ],
    }
    return json.dumps(content).encode()


def made_up(number: int) -> str:
    """Return the digest of no layer that could be made: nobody here looks at the bytes."""
    return f"sha256:{number:064x}"


def sparse_layout(folder: Path, *sizes: int) -> Path:
    """Make a layout of large layers without bytes."""
    manifest = manifest_of(*((made_up(number), size) for number, size in enumerate(sizes)))
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    digest = Digest.of(manifest)
    (blobs / digest.hex).write_bytes(manifest)
    (blobs / Digest.of(b"\0" * 9).hex).write_bytes(b"\0" * 9)
    for number, size in enumerate(sizes):
        with (blobs / f"{number:064x}").open("wb") as file:
            file.truncate(size)
    entry = {"mediaType": MediaType.OCI_MANIFEST, "digest": str(digest), "size": len(manifest)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return folder


_MEASURED = """
import re, sys
from pathlib import Path
from moorage.cli.main import main
status = main(sys.argv[1:])
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


def peak(*words: str) -> int:
    """Run a command to its good end; return the most memory that it had, in KiB.

    What wait4 says of a child is never less than what this process has.
    """
    program = [sys.executable, "-c", _MEASURED, *words]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_memory_does_not_grow_with_the_layers(tmp_path: Path) -> None:
    """Four layers of 300 MiB at once are pushed and copied, one of 200 MiB is pulled."""
    source, target = CountingRegistry(), CountingRegistry()
    layout = sparse_layout(tmp_path / "image", *[SIZE] * LAYERS)
    with run_handler(source.answer) as here, run_handler(target.answer) as there:
        peaks = {"push": peak("push", f"oci:{layout}", f"{here}/x:1", "--quiet")}
        assert sum(source.taken.values()) == LAYERS * SIZE + 9
        peaks["copy"] = peak("copy", f"{here}/x:1", f"{there}/x:1", "--quiet")
        assert sum(target.taken.values()) == LAYERS * SIZE + 9
        zeros = hashlib.sha256()
        for _ in range(PULLED // len(_ZEROS)):
            zeros.update(_ZEROS)
        source.manifest = manifest_of((f"sha256:{zeros.hexdigest()}", PULLED))
        peaks["pull"] = peak("pull", f"{here}/x:1", f"oci:{tmp_path}/copy", "--quiet")
    assert {name: size for name, size in peaks.items() if size > MOST} == {}, peaks


def test_memory_does_not_grow_with_what_goes_directly(tmp_path: Path) -> None:
    """Parts of a large layer, and other layers by one PUT each, six at once; and all by a copy."""
    source, target = CountingStorage(), CountingStorage()
    layout = sparse_layout(tmp_path / "image", *DIRECT)
    more = ("--quiet", "--parallel", "6")
    with run_handler(source.answer) as here, run_handler(target.answer) as there:
        peaks = {"push": peak("push", f"oci:{layout}", f"{here}/x:1", *more)}
        peaks["copy"] = peak("copy", f"{here}/x:1", f"{there}/x:1", *more)
    for registry in (source, target):
        assert sum(registry.taken.values()) == sum(DIRECT) + 9
        assert max(registry.taken.values()) == 5 * DIRECT[1]
    assert {name: size for name, size in peaks.items() if size > MOST} == {}, peaks
