"""Tags, referrers and the catalog over HTTP. This module must never answer more than one page.

Source: OCI distribution spec, "Listing Tags", "Listing Referrers" (end-8a, 8b, 12a, 12b).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.api.headers import next_link
from chalicelib.api.messages import Request, Response
from chalicelib.descriptor import MediaType
from chalicelib.errors import PaginationNumberInvalidError, RequestInvalidError
from chalicelib.page import Page
from chalicelib.reference import MAX_NAME_LENGTH, MAX_TAG_LENGTH, parse_digest
from chalicelib.registry.model import CatalogRow
from chalicelib.registry.registry import Registry

_CURSOR = "~"
"""Begins a `last` that is a cursor, and no name."""


def tags(registry: Registry, request: Request, name: str) -> Response:
    """GET and HEAD: a page of a repository's tags; the gateway drops the body of a HEAD."""
    limit, last = page_of(request, MAX_TAG_LENGTH)
    page = registry.lists.tags(name, last, limit)
    answer = {"name": name, "tags": list(page.items)}
    return _names(f"/v2/{name}/tags/list", answer, page, limit)


def catalog(registry: Registry, request: Request) -> Response:
    """GET and HEAD: a page of the repositories that the caller may see.

    Where it ends behind a name that is hidden, its Link has a cursor.
    """
    rows, headers = visible_repositories(registry, request, "/v2/_catalog", {})
    return to_json({"repositories": [row.name for row in rows]}, headers)


def visible_repositories(
    registry: Registry, request: Request, path: str, filters: Mapping[str, str]
) -> tuple[Sequence[CatalogRow], dict[str, str]]:
    """Return a page of repositories that the caller may see, and the header of the next one.

    `filters` has the list's other query parameters; `prefix` among them is what names begin with.
    """
    limit, last = page_of(request, MAX_NAME_LENGTH)
    caller, visible = request.caller, None
    if not caller.sees_all:
        visible = caller.visible
        last = _after(request, last)
    page = registry.lists.repositories(last, limit, visible, filters.get("prefix", ""))
    headers = {}
    if page.rest_after is not None:
        is_shown = bool(page.items) and page.rest_after == page.items[-1].name
        last = page.rest_after if is_shown else _CURSOR + caller.cursor(page.rest_after)
        headers = next_link(path, **filters, n=limit, last=last)
    return page.items, headers


def referrers(registry: Registry, request: Request, name: str, digest: str) -> Response:
    """GET and HEAD: a page of a subject's referrers, as an index."""
    subject, wanted = parse_digest(digest), request.parameter("artifactType")
    last = request.parameter("last")
    page = registry.lists.referrers(name, subject, wanted, parse_digest(last) if last else None)
    headers = {"OCI-Filters-Applied": "artifactType"} if wanted is not None else {}
    if page.rest_after is not None:
        path = f"/v2/{name}/referrers/{subject}"
        headers |= next_link(path, artifactType=wanted, last=str(page.rest_after))
    index = (
        f'{{"schemaVersion": 2, "mediaType": "{MediaType.OCI_INDEX}",'
        f' "manifests": [{", ".join(page.items)}]}}'
    )
    return Response(200, {**headers, "Content-Type": MediaType.OCI_INDEX.value}, index.encode())


def _after(request: Request, last: str | None) -> str | None:
    """Return the last name seen, which a Link of the catalog may have as a cursor."""
    given = request.parameter("last") or ""
    if not given.startswith(_CURSOR):
        return last
    name = request.caller.name_of(given.removeprefix(_CURSOR))
    if name is None:
        raise RequestInvalidError("`last` is not as a Link of this list had it: begin without it")
    return name


def page_of(request: Request, longest: int) -> tuple[int | None, str | None]:
    """Read how many names are wanted and the last one seen, where none is longer than `longest`.

    One character more of `last` decides as the whole does, and still fits a key of the store.
    """
    number, last = request.parameter("n"), request.parameter("last") or ""
    if number is not None and not (number.isascii() and number.isdecimal()):
        raise PaginationNumberInvalidError
    limit = None if number is None else int(number.lstrip("0")[:9] or "0")
    return limit, last[: longest + 1] or None


def _names(path: str, answer: Mapping[str, Any], page: Page[str], limit: int | None) -> Response:
    headers = next_link(path, n=limit, last=page.items[-1]) if page.more and page.items else {}
    return to_json(answer, headers)


def to_json(value: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    """Answer 200 with a JSON object."""
    return Response(
        200, {**headers, "Content-Type": "application/json"}, json.dumps(value).encode()
    )
