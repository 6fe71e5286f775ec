"""One gateway for all tests of a module that change nothing about it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.servers import Recorder, run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def shared() -> Iterator[SimpleNamespace]:
    """A gateway's `url`, and the `function` that is called behind it now."""
    shared = SimpleNamespace(function=Recorder())

    def function(event: dict[str, Any], context: object) -> object:
        return shared.function(event, context)

    with run_gateway(function) as shared.url:
        yield shared


@pytest.fixture
def recorder(shared: SimpleNamespace) -> Recorder:
    """The function behind the shared gateway: it has been called by nobody."""
    shared.function = recorder = Recorder()
    return recorder


@pytest.fixture
def url(shared: SimpleNamespace, recorder: Recorder) -> str:
    """The shared gateway's URL."""
    assert recorder.events == []
    url: str = shared.url
    return url
