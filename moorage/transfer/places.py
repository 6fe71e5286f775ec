"""Sources and destinations of images, as people write them.

This module must never do any I/O except to check whether a file exists, nor guess a registry.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.reference import Reference, Tag, parse_digest, parse_name, parse_tag
from moorage.common.errors import UsageError
from moorage.common.http import AddressError, host_of, is_loopback, origin, registry_url

STANDARD_INPUT = "-"
_DEFAULT_TAG = "latest"
# Docker Hub's name is not that of the host where it answers as a registry.
_HUB, _HUB_HOST, _HUB_NAMES = "docker.io", "registry-1.docker.io", ("docker.io", "index.docker.io")
_FORMS = {
    "oci": "oci:PATH[:TAG]",
    "oci-archive": "oci-archive:PATH[:TAG]",
    "docker-archive": "docker-archive:PATH[:NAME:TAG]",
    "docker-daemon": "docker-daemon:NAME[:TAG]",
}
SOURCES = tuple(_FORMS)
DESTINATIONS = ("oci", "oci-archive", "docker-archive")


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """A manifest's place in a registry; `url` has the registry's scheme, host and port."""

    url: SplitResult
    name: str
    reference: Reference

    @property
    def origin(self) -> str:
        """The registry's scheme, host and port."""
        return origin(self.url)

    @property
    def repository(self) -> str:
        """The repository with its registry, as clients write it."""
        host = host_of(self.url)
        return f"{_HUB if host == _HUB_HOST else host}/{self.name}"

    def __str__(self) -> str:
        mark = "@" if isinstance(self.reference, Digest) else ":"
        return f"{self.repository}{mark}{self.reference}"


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """An image on this machine; `kind` is one of SOURCES, `image` names one of several in it."""

    kind: str
    path: str
    image: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.image}" if self.image else "")


def registry_place(text: str, *, plain_http: bool = False) -> RegistryPlace:
    """Read REGISTRY/NAME[:TAG][@DIGEST], where a digest wins; raises UsageError, AddressError.

    Without a scheme it is https; http on this machine, or with `plain_http`. Docker Hub is
    docker.io, where images of its own have one name.
    """
    text = text.removeprefix("docker://")
    scheme, found, rest = text.rpartition("://")
    host, slash, path = rest.partition("/")
    if not slash or not (scheme or "." in host or ":" in host or host == "localhost"):
        raise UsageError(
            f"{text[:200]!r} names no registry: write it as registry.example.com/NAME:TAG"
        )
    url = registry_url(f"{scheme}{found}{host}")
    if plain_http:
        url = url._replace(scheme="http")
    elif url.scheme == "http" and not is_loopback(url):
        raise AddressError(
            f"{origin(url)} has no TLS: logins and images would cross the network in the clear;"
            " write https://, or give --plain-http"
        )
    named, _, digest = path.partition("@")
    name, _, tag = named.partition(":")
    if url.hostname in _HUB_NAMES:
        url = url._replace(netloc=_HUB_HOST)
        name = name if "/" in name else f"library/{name}"
    try:
        reference = parse_digest(digest) if digest else parse_tag(tag or _DEFAULT_TAG)
        return RegistryPlace(url, parse_name(name), reference)
    except RegistryError as error:
        raise UsageError(str(error)) from None


def local_place(text: str, kinds: Sequence[str]) -> LocalPlace:
    """Read an image's place on this machine, of one of `kinds`; raises UsageError."""
    kind, colon, rest = text.partition(":")
    if not colon or kind not in kinds or not rest:
        forms = ", ".join(_FORMS[each] for each in kinds)
        raise UsageError(f"{text[:200]!r} is none of {forms}")
    if kind == "docker-daemon":
        return LocalPlace(kind, _tagged(rest))
    path, image = _split(rest, has_name=kind == "docker-archive")
    if kind == "docker-archive" and image:
        image = _tagged(image)
    return LocalPlace(kind, path, image)


def tag_of(place: RegistryPlace) -> str | None:
    """Return a place's tag; None where a digest names the manifest."""
    return place.reference.name if isinstance(place.reference, Tag) else None


def _tagged(image: str) -> str:
    """Return an image of docker's with its tag, or digest."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in last else f"{image}:{_DEFAULT_TAG}"


def _split(text: str, *, has_name: bool) -> tuple[str, str | None]:
    """Part a path from the image that is named after it, at a colon.

    The longest path that exists is the path. Where none does, what follows the last colon is the
    image, unless it has a slash; in a docker archive, whose images have colons, the first one.
    """
    parts = text.split(":")
    for count in range(len(parts), 0, -1):
        path = ":".join(parts[:count])
        if path == STANDARD_INPUT or Path(path).exists():
            return path, ":".join(parts[count:]) or None
    count = 1 if has_name else len(parts) - 1
    if len(parts) == 1 or (not has_name and os.sep in parts[-1]):
        return text, None
    return ":".join(parts[:count]), ":".join(parts[count:])
