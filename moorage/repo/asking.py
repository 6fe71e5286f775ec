"""What the commands of `moorage repo` share: a login, lists page by page, facts in words.

This module must never print a registry's text unchanged: it may contain anything.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import urlencode

from chalicelib.digest import Digest
from chalicelib.errors import RegistryError
from chalicelib.reference import Reference, parse_digest
from moorage.common.errors import CommandError
from moorage.common.http import clean, json_object, next_page
from moorage.common.sizes import size_text
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.places import RegistryPlace

SHORT = len("sha256:") + 12
"""How much of a digest a table shows."""

UNKNOWN = "unknown"
_LONGEST, _NO_WORD = 300, re.compile("(?!)")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RepoOptions:
    """What the commands share; times in seconds."""

    plain_http: bool = False
    patience_seconds: float = 90.0


def answered(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's requests, and what reads their answers; raises CommandError.

    Answers are read as docs/openapi.yaml has them. One of another form is no registry's that these
    commands know, whichever member of it is wrong.
    """
    try:
        return asyncio.run(work)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unreadable() from error


@asynccontextmanager
async def opened(
    place: RegistryPlace, options: RepoOptions, actions: str
) -> AsyncIterator[RegistryClient]:
    """Log in for these actions on a repository; without a name, for the list of all."""
    scopes = [f"repository:{place.name}:{actions}" if place.name else "registry:catalog:*"]
    client = RegistryClient(place, scopes, options.patience_seconds, plain_http=options.plain_http)
    try:
        await client.open()
        yield client
    finally:
        await client.close()


async def read(client: RegistryClient, path: str, what: str, *names: str) -> Mapping[str, Any]:
    """GET a JSON object that has these members; raises CommandError."""
    answer = await client.call("GET", path)
    if answer.status != HTTPStatus.OK:
        raise refusal(client, answer, what)
    return document(answer.body, *names)


async def rows(
    client: RegistryClient, path: str, member: str, what: str
) -> AsyncIterator[Mapping[str, Any]]:
    """Give the rows of a list, page by page."""
    following: str | None = path
    requested: set[str] = set()
    while following is not None:
        if following in requested:
            raise _unreadable()
        requested.add(following)
        answer = await client.call("GET", following)
        if answer.status != HTTPStatus.OK:
            raise refusal(client, answer, what)
        for row in document(answer.body, member)[member]:
            yield row
        following = next_page(answer.headers.get("Link", ""))


def query(**parameters: str | None) -> str:
    """Write the part of a URL from its `?` on; None is left out."""
    text = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"?{text}" if text else ""


def document(body: bytes, *names: str) -> Mapping[str, Any]:
    """Read a JSON object that has these members; raises CommandError."""
    found = json_object(body)
    if not found.keys() >= set(names):
        raise _unreadable()
    return found


def written(text: str | None, otherwise: str = UNKNOWN) -> str:
    """Write a time of the API for people, in UTC."""
    if text is None:
        return otherwise
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def size(count: int | None) -> str:
    """Write bytes for people."""
    return UNKNOWN if count is None else size_text(count)


def plain(text: object) -> str:
    """Write what somebody may have made up: printable, on one line, and digests whole."""
    return clean(text if isinstance(text, str) else str(text), _LONGEST, _NO_WORD)


async def digest_of(client: RegistryClient, reference: Reference) -> str:
    """Return the digest that a reference names; raises CommandError. It is no pull."""
    if isinstance(reference, Digest):
        return str(reference)
    answer = await client.call("HEAD", client.path(f"manifests/{reference.name}"))
    if answer.status != HTTPStatus.OK:
        raise refusal(client, answer, f"to look at {reference.name}")
    try:
        return str(parse_digest(answer.headers.get("Docker-Content-Digest", "")))
    except RegistryError:
        raise _unreadable() from None


def _unreadable() -> CommandError:
    return CommandError("the registry's answer can't be read: is it Moorage, of this version?")
