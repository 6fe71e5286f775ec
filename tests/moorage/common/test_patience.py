"""A POST is tried again while the registry fails; then its last answer is the client's."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from multidict import CIMultiDict

from moorage.common.patience import UpstreamResponse, ask_patiently

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.moorage.conftest import SteppedClock

LOST = 0
SECONDS = 90.0


class Registry:
    """Answers with one status after the other; 0 is a broken connection."""

    def __init__(self, statuses: Iterable[int], headers: Mapping[str, str]) -> None:
        self._statuses = iter(statuses)
        self._headers = headers
        self.asked = 0

    async def ask(self, *_: object) -> UpstreamResponse:
        """Answer."""
        self.asked += 1
        status = next(self._statuses)
        if status == LOST:
            raise aiohttp.ServerDisconnectedError
        return UpstreamResponse(status, CIMultiDict(self._headers), b"")


def post(registry: Registry) -> int:
    """Return the status of the answer."""
    upstream: Any = registry
    return asyncio.run(ask_patiently(upstream, "/", {}, None, SECONDS)).status


@pytest.mark.parametrize("failure", [LOST, 408, 429, 500, 502, 503, 504])
def test_a_failure_is_tried_again(clock: SteppedClock, failure: int) -> None:
    """Until there is another answer, whichever it is."""
    for last in (201, 202, 400, 401, 404):
        registry = Registry([failure, failure, last], {})
        assert (post(registry), registry.asked) == (last, 3)
    assert clock.now > 1000


@pytest.mark.parametrize(("failure", "told"), [(503, 503), (429, 429), (500, 500)])
def test_the_last_answer_is_returned_when_the_patience_is_over(
    clock: SteppedClock, failure: int, told: int
) -> None:
    """Not sooner, nor much later; also if the answer before was lost."""
    began = clock.now
    assert post(Registry(chain([LOST], repeat(failure)), {})) == told
    assert SECONDS < clock.now - began < SECONDS + 10


def test_a_registry_that_never_answers_is_no_answer(clock: SteppedClock) -> None:
    """What its last request raised is raised."""
    began = clock.now
    with pytest.raises(aiohttp.ServerDisconnectedError):
        post(Registry(repeat(LOST), {}))
    assert SECONDS < clock.now - began < SECONDS + 10


@pytest.mark.parametrize(
    ("header", "asked", "waited"), [("0", 2, 0.1), ("7", 2, 7), ("40", 2, 40), ("41", 1, 0)]
)
def test_retry_after_is_obeyed_unless_it_is_long(
    clock: SteppedClock, header: str, asked: int, waited: float
) -> None:
    """A locked-out login is for its client to wait for; and 0 is not at once for ever."""
    began, registry = clock.now, Registry([429, 201], {"Retry-After": header})
    assert post(registry) == (201 if asked > 1 else 429)
    assert registry.asked == asked
    assert waited <= clock.now - began <= waited * 1.2 + 0.001


@pytest.mark.parametrize(
    ("ahead", "least", "most"), [(20, 15, 24.1), (-20, 0.1, 0.2), (None, 0.1, 0.2)]
)
def test_retry_after_may_be_a_date(
    clock: SteppedClock, ahead: int | None, least: float, most: float
) -> None:
    """A past date means now; a text that is neither a number nor a date is ignored."""
    header = "soon" if ahead is None else formatdate(clock.now + ahead, usegmt=True)
    began, registry = clock.now, Registry([503, 201], {"Retry-After": header})
    assert post(registry) == 201
    assert least <= clock.now - began <= most
