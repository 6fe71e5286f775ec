"""A push knows where earlier ones left its blobs, and has them mounted; it relies on nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from chalicelib.digest import Digest
from moorage.transfer import known_blobs
from moorage.transfer.kept_sessions import user_state
from moorage.transfer.known_blobs import KnownBlobs
from tests.moorage.transfer.images import Content, noise

if TYPE_CHECKING:
    from pathlib import Path

    from tests.moorage.transfer.conftest import Runner

ORIGIN = "https://r.example.com"
BLOBS = [Digest.of(bytes([number])) for number in range(4)]
LAYER = noise(300_000)


def known(origin: str = ORIGIN) -> list[str | None]:
    """Return what another command would know of all blobs."""
    return [KnownBlobs(origin).repository_of(each) for each in BLOBS]


def file_of(origin: str = ORIGIN) -> Path:
    """Return the one file that there is."""
    KnownBlobs(origin).note("any", [BLOBS[0]])
    (file,) = user_state("blobs").iterdir()
    return file


def test_the_last_repository_of_a_registry_is_known() -> None:
    """What was seen there before is forgotten, and another registry has none of it."""
    KnownBlobs(ORIGIN).note("a", BLOBS[:2])
    KnownBlobs(ORIGIN).note("b", BLOBS[1:3])
    assert known() == ["a", "b", "b", None]
    assert known("https://other.example.com") == [None] * 4


def test_the_oldest_entries_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a largest size."""
    monkeypatch.setattr(known_blobs, "_MOST", 3)
    for name, blob in (("a", 0), ("b", 1), ("c", 2), ("d", 0), ("e", 3)):
        KnownBlobs(ORIGIN).note(name, [BLOBS[blob]])
    assert known() == ["d", None, "c", "e"]


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"null", b'{"a"', b"1"])
def test_a_file_with_anything_wrong_is_empty(content: bytes) -> None:
    """The next push writes it anew."""
    file_of().write_bytes(content)
    assert known() == [None] * 4
    KnownBlobs(ORIGIN).note("a", BLOBS)
    assert known() == ["a"] * 4


def test_an_invalid_name_is_left_out() -> None:
    """Whatever program wrote it."""
    file_of().write_text(json.dumps({str(BLOBS[0]): ["a"], str(BLOBS[1]): "b"}))
    assert known() == [None, "b", None, None]


def test_a_file_is_for_the_user_alone_and_is_not_written_without_need() -> None:
    """A push of what is there leaves it as it is."""
    file = file_of()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = file.stat()
    KnownBlobs(ORIGIN).note("any", [BLOBS[0]])
    assert file.stat() == before


def test_a_folder_that_can_not_be_made_is_no_failure(run: Runner) -> None:
    """Nothing is noted then, and the image is pushed."""
    (run.home / "state").write_text("no folder")
    assert outcomes(run, "a") == {"sent"}
    assert outcomes(run, "b") == {"sent"}


def outcomes(run: Runner, name: str, *words: str) -> set[str]:
    """Push an image, always the same, and return what was done with its blobs."""
    content = Content()
    content.tag(content.image(LAYER))
    source = f"oci:{content.folder(run.folder / name)}"
    told = run("push", source, f"{run.host}/{name}:1", "--json", *words).events
    return {each["outcome"] for each in told if each["event"] == "end"}


def test_a_push_to_another_repository_mounts_with_a_login(run: Runner) -> None:
    """It asks for a token with the right to pull where the blobs are."""
    run.log_in()
    assert outcomes(run, "a") == {"sent"}
    assert outcomes(run, "b") == {"mounted"}
    assert "repository:a:pull" in (run.fake.scopes or [])


@pytest.mark.parametrize("fault", ["503", "403", "no token"])
def test_a_mount_that_fails_is_no_failure(
    fault: str, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for it: the blob is sent, and nothing is waited for."""
    run.log_in()
    assert outcomes(run, "a") == {"sent"}
    upload, token = run.fake._upload, run.fake._token  # noqa: SLF001 - it has no other hook
    mounts: list[str] = []

    def refuse(request: web.BaseRequest, body: bytes) -> Any:  # noqa: ANN401 - as it is called
        if "mount" not in request.query:
            return upload(request, body)
        mounts.append(request.query["from"])
        return web.Response(status=int(fault))

    def refuse_more(request: web.BaseRequest) -> web.Response:
        if "repository:a:pull" not in request.query.getall("scope"):
            return token(request)
        mounts.append("a")
        return web.Response(status=403)

    if fault == "no token":
        monkeypatch.setattr(run.fake, "_token", refuse_more)
    else:
        monkeypatch.setattr(run.fake, "_upload", refuse)
    # One at once, so that what the first one learns saves the second one's request.
    assert outcomes(run, "b", "--parallel", "1") == {"sent"}
    assert mounts == ["a"]
    assert run.fake.manifests["b", "1"] == run.fake.manifests["a", "1"]


def test_a_layer_to_be_repaired_is_not_mounted(run: Runner) -> None:
    """It may be lost there as well."""
    assert outcomes(run, "a") == {"sent"}
    assert outcomes(run, "b", "--repair") == {"sent"}
