"""docs/openapi.yaml as tests read it: its operations, with every reference followed.

A path is written here without its last slash, which the registry ignores. It must never judge
the description: tests hold it and the code to each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moorage.common.project import PROJECT, load_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chalicelib.routes import Route

PATH = PROJECT / "docs" / "openapi.yaml"
# What a row's pattern takes from a path, and what it must not be.
_GROUP = re.compile(r"\(\?P<(\w+)>[^)]*\)")
_LOOK_AHEAD = re.compile(r"\(\?![^)]*\)")
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")


@dataclass(frozen=True)
class Header:
    """A header of a response; a value, or each value of a list, fits if `pattern` is in it."""

    name: str
    required: bool
    pattern: re.Pattern[str]
    is_list: bool

    def fits(self, value: str) -> bool:
        """Say whether a value is one that is described."""
        values = value.split(", ") if self.is_list else [value]
        return all(self.pattern.search(each) for each in values)


@dataclass(frozen=True)
class Described:
    """A response: its headers, and the error codes that its body may hold."""

    headers: tuple[Header, ...]
    codes: frozenset[str]

    def faults(self, headers: Mapping[str, str], code: str | None) -> Iterator[str]:
        """Say what of an answer is not as described; `headers` has them by lower-case name."""
        for header in self.headers:
            value = headers.get(header.name.lower())
            if value is None and header.required:
                yield f"{header.name} is missing"
            elif value is not None and not header.fits(value):
                yield f"{header.name} is {value!r}"
        if code is not None and code not in self.codes:
            yield f"the code is {code}"


@dataclass(frozen=True)
class Operation:
    """A method of a path: its query parameters and its responses by status."""

    queries: frozenset[str]
    responses: Mapping[int, Described]


def load() -> dict[str, Any]:
    """Read the description."""
    return load_template(PATH)


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], Operation]:
    """Return every operation by method (upper case) and path template."""
    return {
        (method.upper(), path.rstrip("/")): _operation(document, item, item[method])
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    }


def template(route: Route) -> tuple[str, str]:
    """Return the method and the path template of a row of the table of routes."""
    path = _GROUP.sub(r"{\1}", _LOOK_AHEAD.sub("", route.pattern))
    return route.method, f"/v2/{path}".rstrip("/")


def responses(document: Mapping[str, Any]) -> dict[str, Described]:
    """Return the responses that any operation may share, by name."""
    shared = document["components"]["responses"]
    return {name: _described(document, response) for name, response in shared.items()}


def codes(document: Mapping[str, Any]) -> list[str]:
    """Return the closed set of error codes, as it is written."""
    return list(document["components"]["schemas"]["Code"]["enum"])


def _operation(document: Mapping[str, Any], item: Any, operation: Any) -> Operation:  # noqa: ANN401 - YAML
    given = [*item.get("parameters", ()), *operation.get("parameters", ())]
    parameters = [_followed(document, parameter) for parameter in given]
    return Operation(
        frozenset(p["name"] for p in parameters if p["in"] == "query"),
        {
            int(status): _described(document, _followed(document, response))
            for status, response in operation["responses"].items()
        },
    )


def _described(document: Mapping[str, Any], response: Mapping[str, Any]) -> Described:
    headers = [
        _header(document, name, _followed(document, given))
        for name, given in response.get("headers", {}).items()
    ]
    return Described(tuple(headers), frozenset(_codes(document, response.get("content", {}))))


def _header(document: Mapping[str, Any], name: str, header: Mapping[str, Any]) -> Header:
    schema = _followed(document, header["schema"])
    is_list = schema.get("type") == "array"
    if is_list:
        schema = _followed(document, schema["items"])
    pattern = f"^{re.escape(schema['const'])}$" if "const" in schema else schema.get("pattern", "")
    return Header(name, header.get("required", False), re.compile(pattern), is_list)


def _codes(document: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    """Find the codes to which a response's schemas narrow the set, wherever they stand in it."""
    for media_type in content.values():
        schema = _followed(document, media_type["schema"])
        for choice in (schema, *schema.get("anyOf", ())):
            errors = choice.get("properties", {}).get("errors", {})
            code = errors.get("items", {}).get("properties", {}).get("code", {})
            yield from code.get("enum", ())
            if "const" in code:
                yield code["const"]


def _followed(document: Mapping[str, Any], node: Any) -> Any:  # noqa: ANN401 - YAML
    """Follow a node's reference; what stands beside one (a schema's properties) wins."""
    if "$ref" not in node:
        return node
    found: Any = document
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    beside = {key: value for key, value in node.items() if key != "$ref"}
    return {**_followed(document, found), **beside}
