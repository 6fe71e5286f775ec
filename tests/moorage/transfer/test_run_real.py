"""`moorage push`, `pull` and `copy` straight at a real gateway, which asks for a login."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from moorage.transfer import direct_sender
from moorage.transfer.uploads import ChunkSender
from tests.moorage.local import driver
from tests.moorage.transfer.images import Content, noise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.moorage.transfer.conftest import Runner


@contextmanager
def local(folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """Run `moorage local` on free ports until the block ends; give its ready file."""
    free = ("--gateway-port", "0", "--proxy-port", "0", "--ready-file", "ready.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "moorage", "local", *free, *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield driver.ready(process, folder / "ready.json")
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize(("head_mode", "largest_whole"), [("body", 6_000_000), ("zero", None)])
def test_an_image_goes_to_a_gateway_and_back(
    head_mode: str,
    largest_whole: int | None,
    run: Runner,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No proxy stands before it: large layers go to S3 by one PUT or in parts, and come from there.

    Referrers come along, and a copy within the registry is mounted.
    """
    if largest_whole is not None:
        monkeypatch.setattr(direct_sender, "LARGEST_WHOLE", largest_whole)
    layers = (noise(11_000_000), noise(5_000_000, 2), noise(100, 3), b"")
    content = Content()
    root = content.image(*layers)
    signature = content.image(noise(50, 4), subject=root)
    content.tag(root, "v1")
    content.tag(signature)
    image = f"oci:{content.folder(run.folder / 'image')}:v1"
    options = ("--auth", "--admin-token-file", "token", "--head-mode", head_mode)
    with local(run.folder, *options) as ready:
        host = ready["gateway"].removeprefix("http://")
        refused = run("push", image, f"{host}/team/app:1", fails=True)
        assert "anybody without a login" in refused.err or "log in" in refused.err
        token = (run.folder / "token").read_text().strip()
        entry = {"auth": base64.b64encode(f"moorage:{token}".encode()).decode()}
        (home / "run/containers").mkdir(parents=True)
        (home / "run/containers/auth.json").write_text(json.dumps({"auths": {host: entry}}))
        with mock.patch.object(ChunkSender, "_send_chunks", side_effect=AssertionError):
            pushed = run("push", image, f"{host}/team/app:1", "--referrers")
        assert pushed.out.strip() == root["digest"]
        copied = run("copy", f"{host}/team/app:1", f"{host}/other:2", "--referrers", "--json")
        outcomes = {each["outcome"] for each in copied.events if each["event"] == "end"}
        assert outcomes == {"mounted"}
        run("pull", f"{host}/other:2", f"oci:{run.folder}/copy:v1", "--referrers")
    for digest, body in content.stored.items():
        assert (run.folder / "copy/blobs" / digest.replace(":", "/")).read_bytes() == body
