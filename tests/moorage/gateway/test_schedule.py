"""Functions that an app schedules: when they run, and what they are given."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from chalice.app import Chalice, CloudWatchEvent, Rate

from moorage.gateway.schedule import ScheduledFunction, run_once, scheduled_functions
from moorage.gateway.server import GatewayOptions, load_function
from tests.support.servers import Recorder, run_gateway
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


class Scheduled(Chalice):
    """An app with one scheduled function, which counts its runs."""

    def __init__(self) -> None:
        super().__init__("behind")
        self.runs: list[CloudWatchEvent] = []
        self.at_once: list[int] = []
        self._running = 0

        @self.schedule(Rate(2, unit=Rate.DAYS), name="tidy")
        def tidy(event: CloudWatchEvent) -> None:
            self._running += 1
            self.at_once.append(self._running)
            self.runs.append(event)
            threading.Event().wait(0.02)
            self._running -= 1
            if len(self.runs) == 1:
                raise ValueError("the first run fails")


def test_a_registry_runs_what_a_deployment_does() -> None:
    """Every scheduled function of app.py, each hour."""
    found = {each.name: each.seconds for each in scheduled_functions(load_function())}
    assert found == {"sweep": 3600.0, "collect": 3600.0}


def test_a_rate_is_read_in_its_unit_and_a_plain_function_schedules_nothing() -> None:
    """Days, too."""
    [found] = scheduled_functions(Scheduled())
    assert (found.name, found.seconds) == ("tidy", 2 * 86400.0)
    assert scheduled_functions(Recorder()) == ()


def test_a_function_runs_again_and_again_while_the_gateway_does_and_never_twice_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A run that fails is logged and does not end it; none begins once the gateway has stopped."""
    app = Scheduled()
    with run_gateway(app, GatewayOptions(port=0, every_seconds=0.01)):
        until(lambda: len(app.runs) >= 3, "it has run three times")
    assert set(app.at_once) == {1}
    assert app.runs[0].detail_type == "Scheduled Event"
    assert app.runs[0].event_id != app.runs[1].event_id
    assert caplog.text.count("the scheduled function tidy raised") == 1
    threading.Event().wait(0.1)
    ended = len(app.runs)
    threading.Event().wait(0.1)
    assert len(app.runs) == ended


def test_the_first_run_waits_for_its_time() -> None:
    """A gateway that has only just started has nothing else to do than to answer."""
    app = Scheduled()
    with run_gateway(app):
        threading.Event().wait(0.05)
    assert app.runs == []


def test_a_scheduled_function_has_fifteen_minutes() -> None:
    """As its timeout in `.chalice/config.json`."""
    left: list[int] = []
    run_once(
        ScheduledFunction(
            "x", lambda _, context: left.append(context.get_remaining_time_in_millis()), 1
        )
    )
    assert 890_000 < left[0] <= 900_000
