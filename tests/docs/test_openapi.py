"""docs/openapi.yaml and the code say the same, row by row and in both directions."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import textwrap
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from chalicelib.api.dispatch import handler_of
from chalicelib.errors import ErrorCode
from chalicelib.routes import ROUTES
from tests.support import description
from tests.support.description import codes, operations, responses, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Check = Callable[[Mapping[str, Any]], object]

DOCUMENT = description.load()


def row_faults(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Rows that are not described, and descriptions of what is no row."""
    return {template(route) for route in ROUTES} ^ set(operations(document))


def code_faults(document: Mapping[str, Any]) -> set[str]:
    """Codes that are missing in the closed set, told twice, or known to nobody."""
    told = codes(document)
    twice = {code for code in told if told.count(code) > 1}
    return ({code.code for code in ErrorCode} ^ set(told)) | twice


def described(document: Mapping[str, Any]) -> set[tuple[int, str]]:
    """Pairs of a status and a code that some operation describes."""
    return {
        (status, code)
        for operation in operations(document).values()
        for status, response in operation.responses.items()
        for code in response.codes
    }


def status_faults(document: Mapping[str, Any]) -> set[tuple[int, str]]:
    """Pairs of a status and a code that the table of errors does not have, wherever described."""
    return (
        described(document) - {(code.status, code.code) for code in ErrorCode} - {(500, "UNKNOWN")}
    )


def parameters_read(handler: Callable[..., object]) -> set[str]:
    """Names of the query parameters that a handler reads, itself or by a function of the API."""
    names: set[str] = set()
    seen: set[object] = set()
    waiting: list[object] = [handler]
    while waiting:
        function = waiting.pop()
        if function in seen or not isinstance(function, FunctionType):
            continue
        seen.add(function)
        if function.__module__.startswith("chalicelib.api"):
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                names |= set(_parameter(call))
                waiting.append(_called(call.func, function.__globals__))
    return names


def _parameter(call: ast.Call) -> Iterator[str]:
    """The name that `request.parameter(NAME)`, `.flag(NAME)` or `.query.get(NAME, ...)` reads."""
    if re.fullmatch(r"\w+\.(parameter|flag|query\.get)", ast.unparse(call.func)):
        yield str(ast.literal_eval(call.args[0]))


def _called(name: ast.expr, names: Mapping[str, object]) -> object:
    """What a call's name stands for in a module: a name of its own, or one in another module."""
    if isinstance(name, ast.Attribute) and isinstance(name.value, ast.Name):
        return getattr(names.get(name.value.id), name.attr, None)
    return names.get(name.id) if isinstance(name, ast.Name) else None


def query_faults(document: Mapping[str, Any]) -> dict[tuple[str, str], set[str]]:
    """Rows whose handler reads other query parameters than are described."""
    found = operations(document)
    differing = {
        template(route): parameters_read(handler_of(route)) ^ set(found[template(route)].queries)
        for route in ROUTES
        if template(route) in found
    }
    return {row: names for row, names in differing.items() if names}


def test_the_description_is_valid() -> None:
    """It is OpenAPI 3.1, with every reference leading somewhere."""
    OpenAPIV31SpecValidator(cast("Any", DOCUMENT)).validate()


CHECKS = {
    "the same methods of the same paths": row_faults,
    "the closed set of codes": code_faults,
    "no code under another status": status_faults,
    "the query parameters that a row's handler reads": query_faults,
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_tables_are_described_and_nothing_else(check: Check) -> None:
    """The table of routes, the table of errors and the handlers say what the description says."""
    assert not check(DOCUMENT)
    assert len(operations(DOCUMENT)) == len(ROUTES)


def test_every_error_that_exists_is_described_somewhere() -> None:
    """No pair of status and code is left out, save the one that no handler gives."""
    assert responses(DOCUMENT)["MethodUnknown"].codes == {"UNSUPPORTED"}
    table = {(code.status, code.code) for code in ErrorCode}
    assert table - described(DOCUMENT) == {(405, "UNSUPPORTED")}


def _path(document: dict[str, Any], path: str) -> Any:  # noqa: ANN401 - YAML
    return document["paths"][f"/v2/{{name}}/{path}"]


def _codes(document: dict[str, Any]) -> list[str]:
    found: list[str] = document["components"]["schemas"]["Code"]["enum"]
    return found


def _with_a_code_elsewhere(document: dict[str, Any]) -> None:
    answers = _path(document, "tags/list")["get"]["responses"]
    answers["409"] = answers["404"]


def _with_a_query(document: dict[str, Any]) -> None:
    page = document["components"]["parameters"]["Number"]
    _path(document, "referrers/{digest}")["get"]["parameters"].append(page)


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda document: _path(document, "tags/list").pop("get"), row_faults),
        (lambda document: document["paths"].update(more={"get": {"responses": {}}}), row_faults),
        (lambda document: _codes(document).remove("NAME_UNKNOWN"), code_faults),
        (lambda document: _codes(document).append("TEAPOT"), code_faults),
        (lambda document: _codes(document).append("DENIED"), code_faults),
        (_with_a_code_elsewhere, status_faults),
        (lambda d: _path(d, "manifests/{reference}")["put"]["parameters"].clear(), query_faults),
        (_with_a_query, query_faults),
    ],
)
def test_a_description_that_is_wrong_is_noticed(
    spoil: Callable[[dict[str, Any]], None], check: Check
) -> None:
    """Each check complains of a copy that lacks something or has too much."""
    spoilt = copy.deepcopy(DOCUMENT)
    spoil(spoilt)
    assert check(spoilt)


def test_a_parameter_that_a_helper_reads_is_the_handlers() -> None:
    """What a handler reads by another function is found, and what it only hands on is not."""
    by_operation = {template(route): parameters_read(handler_of(route)) for route in ROUTES}
    session = "/v2/{name}/blobs/uploads/{session}"
    assert by_operation["PATCH", session] == {"at", "digest-algorithm"}
    assert by_operation["PUT", session] == {"at", "digest"}
    assert by_operation["GET", session] == {"commit", "digest", "hop"}
