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

from chalicelib.api.routes import ROUTES
from chalicelib.errors import ErrorCode
from tests.support import description
from tests.support.description import codes, operations, responses, template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DOCUMENT = description.load()


def row_faults(document: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Rows that are not described, and descriptions of what is no row."""
    return {template(route) for route in ROUTES} ^ set(operations(document))


def code_faults(document: Mapping[str, Any]) -> set[str]:
    """Codes that are missing in the closed set, told twice, or known to nobody."""
    told = codes(document)
    twice = {code for code in told if told.count(code) > 1}
    return ({code.code for code in ErrorCode} ^ set(told)) | twice


def status_faults(document: Mapping[str, Any]) -> set[tuple[int, str]]:
    """Pairs of a status and a code that the table of errors does not have, wherever described."""
    table = {(code.status, code.code) for code in ErrorCode}
    table |= {(500, "UNKNOWN")}
    pairs = {
        (status, code)
        for operation in operations(document).values()
        for status, response in operation.responses.items()
        for code in response.codes
    }
    return pairs - table


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
    """The name that `request.parameter(NAME)` or `request.query.get(NAME, ...)` reads."""
    if re.fullmatch(r"\w+\.(parameter|query\.get)", ast.unparse(call.func)):
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
        template(route): parameters_read(route.handler) ^ set(found[template(route)].queries)
        for route in ROUTES
        if template(route) in found
    }
    return {row: names for row, names in differing.items() if names}


def test_the_description_is_valid() -> None:
    """It is OpenAPI 3.1, with every reference leading somewhere."""
    OpenAPIV31SpecValidator(cast("Any", DOCUMENT)).validate()


def test_every_row_is_described_and_nothing_else() -> None:
    """The table of routes and the description have the same methods of the same paths."""
    assert row_faults(DOCUMENT) == set()
    assert len(operations(DOCUMENT)) == len(ROUTES)


def test_every_error_code_is_described_and_nothing_else() -> None:
    """The closed set of codes is that of the table of errors."""
    assert code_faults(DOCUMENT) == set()


def test_no_code_is_described_under_another_status() -> None:
    """Where an operation says a code, it says it under the status that the table gives it."""
    assert status_faults(DOCUMENT) == set()


def test_every_query_parameter_is_described_and_nothing_else() -> None:
    """An operation has the query parameters that its row's handler reads."""
    assert query_faults(DOCUMENT) == {}


def test_every_error_that_exists_is_described_somewhere() -> None:
    """No pair of status and code is left out, save the one that no handler gives."""
    told = {
        (status, code)
        for operation in operations(DOCUMENT).values()
        for status, response in operation.responses.items()
        for code in response.codes
    }
    assert responses(DOCUMENT)["MethodUnknown"].codes == {"UNSUPPORTED"}
    table = {(code.status, code.code) for code in ErrorCode}
    assert table - told == {(405, "UNSUPPORTED")}


def _without_a_method(document: dict[str, Any]) -> None:
    del document["paths"]["/v2/{name}/tags/list"]["get"]


def _with_a_path(document: dict[str, Any]) -> None:
    document["paths"]["/v2/{name}/more"] = {"get": {"responses": {}}}


def _without_a_code(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Code"]["enum"].remove("NAME_UNKNOWN")


def _with_a_code(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Code"]["enum"].append("TEAPOT")


def _with_a_code_twice(document: dict[str, Any]) -> None:
    document["components"]["schemas"]["Code"]["enum"].append("DENIED")


def _with_a_code_elsewhere(document: dict[str, Any]) -> None:
    answers = document["paths"]["/v2/{name}/tags/list"]["get"]["responses"]
    answers["409"] = answers["404"]


def _without_a_query(document: dict[str, Any]) -> None:
    document["paths"]["/v2/{name}/manifests/{reference}"]["put"]["parameters"].clear()


def _with_a_query(document: dict[str, Any]) -> None:
    page = document["components"]["parameters"]["Number"]
    document["paths"]["/v2/{name}/referrers/{digest}"]["get"]["parameters"].append(page)


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (_without_a_method, row_faults),
        (_with_a_path, row_faults),
        (_without_a_code, code_faults),
        (_with_a_code, code_faults),
        (_with_a_code_twice, code_faults),
        (_with_a_code_elsewhere, status_faults),
        (_without_a_query, query_faults),
        (_with_a_query, query_faults),
    ],
)
def test_a_description_that_is_wrong_is_noticed(
    spoil: Callable[[dict[str, Any]], None], check: Callable[[Mapping[str, Any]], object]
) -> None:
    """Each check complains of a copy that lacks something or has too much."""
    spoilt = copy.deepcopy(DOCUMENT)
    spoil(spoilt)
    assert not check(DOCUMENT)
    assert check(spoilt)


def test_a_parameter_that_a_helper_reads_is_the_handlers() -> None:
    """What a handler reads by another function is found, and what it only hands on is not."""
    by_operation = {template(route): parameters_read(route.handler) for route in ROUTES}
    session = "/v2/{name}/blobs/uploads/{session}"
    assert by_operation["PATCH", session] == {"at"}
    assert by_operation["PUT", session] == {"at", "digest"}
    assert by_operation["GET", session] == set()
