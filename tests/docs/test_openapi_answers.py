"""What docs/openapi.yaml says of failures and of grammar is what the registry does.

The fuzz of tests/api holds whatever else is answered to the same description.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.digest import Digest, InvalidDigestError
from chalicelib.errors import (
    DeniedError,
    NameInvalidError,
    RegistryError,
    TagInvalidError,
    TooManyRequestsError,
    UnauthorizedError,
    UnavailableError,
)
from chalicelib.reference import parse_name, parse_tag
from chalicelib.routes import ROUTES, Route, RouteMatch, ServedBy
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.support import description
from tests.support.description import operations, template

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.access.token_service import TokenService
    from chalicelib.api.messages import AuthorizedCaller
    from chalicelib.registry.registry import Registry

DOCUMENT = description.load()
SAMPLES = {
    "name": "app",
    "session": "5b1f0e9c-7a3f-4f0e-9f6a-0a6c1f2d3e4f",
    "digest": f"sha256:{'0' * 64}",
    "reference": "v1",
    "file": "page.js",
}


class Failing:
    """A registry that fails in one way."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


class Refusing:
    """An authorizer that raises."""

    def __init__(self, error: RegistryError) -> None:
        self._error = error

    def admit(self, request: Request, found: RouteMatch) -> AuthorizedCaller:
        """Raise."""
        del request, found
        raise self._error


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(template(route)))
@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedError(),
        DeniedError(),
        TooManyRequestsError(),
        UnavailableError(),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_can_go_wrong_anywhere_is_described_everywhere(route: Route, error: Exception) -> None:
    """Whoever is refused, and whatever fails below, hears what the operation's description says."""
    refusing = isinstance(error, UnauthorizedError | DeniedError)
    api = Api(
        lambda: cast("Registry", Failing(error)),
        ApiOptions(1024, HeadStrategy.BODY, 1024),
        Refusing(error) if refusing and isinstance(error, RegistryError) else None,
        lambda: cast("TokenService", Failing(error)),
    )
    if route.served_by is ServedBy.NOTHING and not refusing:
        return  # it asks nothing of anybody
    method, path = template(route)
    query = {"digest": [SAMPLES["digest"]]}
    target = path.removeprefix("/v2").removeprefix("/").format_map(SAMPLES)
    answer = api(Request(method, target, query, {}, b"{}", 0.0, "test"))
    response = operations(DOCUMENT)[method, path].responses[answer.status]
    code = re.search(rb'"code": "(\w+)"', answer.body)
    assert code is not None
    headers = {name.lower(): str(value) for name, value in answer.headers.items()}
    assert list(response.faults(headers, code[1].decode())) == []


PARSERS: dict[str, tuple[Callable[[str], object], type[Exception]]] = {
    "RepositoryName": (parse_name, NameInvalidError),
    "Tag": (parse_tag, TagInvalidError),
    "Digest": (Digest.parse, InvalidDigestError),
}


@pytest.mark.parametrize("schema", PARSERS)
@settings(max_examples=50)
@given(data=st.data())
def test_a_grammar_is_the_parsers(schema: str, data: st.DataObject) -> None:
    """What a schema's pattern matches is taken; what it does not match, ever so nearly, is not."""
    told = DOCUMENT["components"]["schemas"][schema]
    longest = told.get("maxLength", 1000)
    parse, refusal = PARSERS[schema]
    good = data.draw(st.from_regex(told["pattern"].replace("$", r"\Z")))
    near = data.draw(st.sampled_from(["", "-", ".", "/", ":", "A", "a", "0", "\n", "\u0661"]))
    at = data.draw(st.integers(0, len(good)))
    for text in (good, good[:at] + near + good[at:], good[:at] + near + good[at + 1 :]):
        fits = re.fullmatch(told["pattern"], text) and "\n" not in text and len(text) <= longest
        if fits:
            parse(text)
        else:
            with pytest.raises(refusal):
                parse(text)
