"""The list of images that run somewhere, and which of them are the registry's.

This module must never leave out an image that may be the registry's: retention deletes the others.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.reference import parse_digest, parse_name, parse_tag
from moorage.common.errors import UsageError

_LATEST = "latest"
_LONGEST = 100
_DOCKER = "docker.io"
# What the runtimes of Kubernetes write before an image.
_SCHEME = re.compile(r"(docker-pullable|docker|containerd|cri-o)://")
_UNPRINTABLE = re.compile(r"[^ -~]")


class ImageNameError(UsageError):
    """A text that can be no image of the registry; the message says why."""


@dataclass(frozen=True, slots=True)
class Running:
    """An image that runs, as its runtime names it, and what runs it."""

    image: str
    by: str
    digest: str = ""
    """What the runtime has pulled by this name, if it says."""
    guess: str = ""
    """An id by the runtime: on some it is the digest of a manifest, on most it is not."""
    own: bool = False
    """Whether a name without a host is the registry's, and must have a tag or a digest."""


@dataclass(slots=True)
class UsesOf:
    """What runs of one repository: by tag and by digest, each with all that runs it."""

    tags: dict[str, list[str]] = field(default_factory=dict)
    digests: dict[Digest, list[str]] = field(default_factory=dict)
    fallbacks: dict[Digest, set[str]] = field(default_factory=dict)
    """The tags of images by digest: they count where the registry does not have the digest."""
    guesses: dict[Digest, list[str]] = field(default_factory=dict)
    """What counts only where the registry has it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """The names of a registry, as images have them; one without a port stands for any port."""

    names: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Read hosts, or URLs of them; raises UsageError."""
        names = frozenset(_host(text) for text in texts)
        if "" in names:
            raise UsageError("a registry is a host as images name it, such as registry.example.com")
        return cls(names)

    def has(self, host: str) -> bool:
        """Whether this is one of them."""
        known = host.lower().removesuffix(":443")
        return known in self.names or known.rpartition(":")[0] in self.names


@dataclass(slots=True)
class Inventory:
    """What runs: of the registry, by repository, and of others."""

    of_repositories: dict[str, UsesOf] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    """How many images other registries have, by host."""
    unreadable: list[str] = field(default_factory=list)
    """What has the registry's host and is the name of no image: nothing can run by it."""


def inventory(running: Iterable[Running], hosts: Hosts) -> Inventory:
    """Divide what runs; raises ImageNameError for a name in a list that can't be read."""
    found = Inventory()
    for each in running:
        image = _SCHEME.sub("", each.image)
        named, _, digest = image.partition("@")
        host, path = _divided(named)
        if not (hosts.has(host) if host else each.own):
            found.others[host or _DOCKER] += 1
            continue
        try:
            _add(found.of_repositories, each, path, digest or each.digest)
        except RegistryError as error:
            problem = f"{each.image[:300]!r} is no image of the registry: {error.message}"
            if each.own:
                raise ImageNameError(problem) from None
            found.unreadable.append(f"{problem} ({each.by})")
    return found


def listed(text: str) -> Iterator[Running]:
    """Read a list: an image a line, and behind it what runs it; `#` begins a comment."""
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield Running(words[0], " ".join(words[1:]), own=True)


def said(by: Sequence[str]) -> str:
    """Return what runs a digest, in few words of printable ASCII."""
    named = list(dict.fromkeys(filter(None, by)))
    if not named:
        return ""
    more = f", and {len(named) - 1} more" if len(named) > 1 else ""
    return _UNPRINTABLE.sub("?", named[0])[: _LONGEST - len(more)] + more


def _add(found: dict[str, UsesOf], each: Running, path: str, digest: str) -> None:
    name, _, tag = path.partition(":")
    of = found.setdefault(parse_name(name), UsesOf())
    if tag:
        parse_tag(tag)
    if each.guess:
        of.guesses.setdefault(parse_digest(each.guess), []).append(each.by)
    if digest:
        read = parse_digest(digest)
        of.digests.setdefault(read, []).append(each.by)
        of.fallbacks.setdefault(read, set()).update([tag] if tag else [])
    elif tag or not each.own:
        of.tags.setdefault(tag or _LATEST, []).append(each.by)
    else:
        raise ImageNameError(f"{each.image[:300]!r}: give a tag or a digest, as in {path}:TAG")


def _divided(named: str) -> tuple[str, str]:
    """Return host and path of an image; the host is empty where there is none."""
    host, slash, path = named.partition("/")
    if slash and (host == "localhost" or "." in host or ":" in host):
        return host, path
    return "", named


def _host(text: str) -> str:
    host = text.lower().partition("://")[2] if "://" in text else text.lower()
    return host.partition("/")[0].removesuffix(":443")
