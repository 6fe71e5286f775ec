"""What a person writes for an image's place, and what it is taken for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moorage.common.errors import CommandError
from moorage.transfer.places import SOURCES, local_place, registry_place, tag_of

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("text", "origin", "name", "reference"),
    [
        ("r.example.com/a/b:1", "https://r.example.com", "a/b", "1"),
        ("r.example.com/a", "https://r.example.com", "a", "latest"),
        ("docker://r.example.com:5000/a:x", "https://r.example.com:5000", "a", "x"),
        (f"r.example.com/a@{DIGEST}", "https://r.example.com", "a", DIGEST),
        (f"r.example.com/a:1@{DIGEST}", "https://r.example.com", "a", DIGEST),
        ("localhost/a:1", "http://localhost", "a", "1"),
        ("127.0.0.1:5000/a:1", "http://127.0.0.1:5000", "a", "1"),
        ("https://127.0.0.1:5000/a:1", "https://127.0.0.1:5000", "a", "1"),
        ("[::1]:5000/a:1", "http://[::1]:5000", "a", "1"),
        ("docker.io/alpine:3", "https://registry-1.docker.io", "library/alpine", "3"),
        ("docker://index.docker.io/a/b:1", "https://registry-1.docker.io", "a/b", "1"),
    ],
)
def test_a_registrys_place_is_read(text: str, origin: str, name: str, reference: str) -> None:
    """Without TLS only on this machine; a digest wins over a tag."""
    place = registry_place(text)
    assert (place.origin, place.name, str(place.reference)) == (origin, name, reference)
    assert tag_of(place) == (None if ":" in reference else reference)
    assert (str(place).partition("/")[0] == "docker.io") == ("docker.io" in text)


def test_plain_http_is_used_only_on_request() -> None:
    """Another machine is spoken to in the clear only then."""
    assert registry_place("r.example.com/a", plain_http=True).origin == "http://r.example.com"
    with pytest.raises(CommandError, match="--plain-http"):
        registry_place("http://r.example.com/a")


@pytest.mark.parametrize(
    "text", ["a", "a/b", "a:1", "r.example.com", "r.example.com/", "r.example.com/a:", "/a.b/c"]
)
def test_a_text_that_names_no_place_in_a_registry_is_refused(text: str) -> None:
    """No registry is guessed."""
    if text.endswith("a:"):
        assert str(registry_place(text)) == "r.example.com/a:latest"
        return
    with pytest.raises(CommandError):
        registry_place(text)


@pytest.mark.parametrize(
    ("text", "path", "image"),
    [
        ("oci:there", "there", None),
        ("oci:there:v1", "there", "v1"),
        ("oci:new", "new", None),
        ("oci:new:v1", "new", "v1"),
        ("oci:new:v1/x", "new:v1/x", None),
        ("oci:with:colon", "with:colon", None),
        ("oci:with:colon:v1", "with:colon", "v1"),
        ("oci-archive:there.tar:v1", "there.tar", "v1"),
        ("docker-archive:there.tar", "there.tar", None),
        ("docker-archive:there.tar:team/app:1", "there.tar", "team/app:1"),
        ("docker-archive:there.tar:localhost:5000/app:1", "there.tar", "localhost:5000/app:1"),
        ("docker-archive:there.tar:app", "there.tar", "app:latest"),
        ("docker-archive:new.tar:team/app:1", "new.tar", "team/app:1"),
        ("docker-archive:new.tar:localhost:5000/app:1", "new.tar", "localhost:5000/app:1"),
        ("docker-archive:new.tar:app", "new.tar", "app:latest"),
        ("docker-archive:new.tar", "new.tar", None),
        ("docker-archive:-", "-", None),
        ("docker-archive:-:app:1", "-", "app:1"),
        ("docker-daemon:app", "app:latest", None),
        ("docker-daemon:localhost:5000/app", "localhost:5000/app:latest", None),
        ("docker-daemon:app:1", "app:1", None),
        (f"docker-daemon:app@{DIGEST}", f"app@{DIGEST}", None),
    ],
)
def test_a_place_on_this_machine_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, path: str, image: str | None
) -> None:
    """A path that exists is the path, with its colons."""
    monkeypatch.chdir(tmp_path)
    for name in ("there", "there.tar", "with:colon"):
        (tmp_path / name).touch()
    place = local_place(text, SOURCES)
    assert (place.kind, place.path, place.image) == (text.partition(":")[0], path, image)
