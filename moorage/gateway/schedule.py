"""Runs what app.py schedules, as EventBridge does.

Each function runs again and again, in a thread of its own. A run that fails is logged, and the next
one comes at its time. This module must never run one function twice at once, nor keep the process
from ending.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from moorage.gateway.event import ACCOUNT_ID, REGION
from moorage.gateway.function import LambdaContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moorage.gateway.function import LambdaFunction

FUNCTION_SECONDS: Final = 900.0
"""How long a scheduled function may run, as `.chalice/config.json` says."""

_UNITS: Final = {"MINUTES": 60.0, "HOURS": 3600.0, "DAYS": 86400.0}

_log = logging.getLogger("moorage.gateway")


@dataclass(frozen=True, slots=True)
class ScheduledFunction:
    """A function, and how many seconds lie between two of its runs."""

    name: str
    function: LambdaFunction
    seconds: float


def scheduled_functions(app: Any) -> Sequence[ScheduledFunction]:  # noqa: ANN401 - Chalice ships no types
    """Return what a Chalice object schedules, by rates; of any other function it is nothing."""
    return tuple(
        ScheduledFunction(
            source.name,
            app.handler_map[source.name],
            source.schedule_expression.value * _UNITS[source.schedule_expression.unit],
        )
        for source in getattr(app, "event_sources", ())
    )


class Schedule:
    """Runs functions at their times from `start` to `stop`.

    With `every_seconds` each is run so often, whatever its own rate is. The first run comes when
    that time has passed once.
    """

    def __init__(
        self, functions: Sequence[ScheduledFunction], every_seconds: float | None = None
    ) -> None:
        self._functions = functions
        self._every = every_seconds
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to wait for the first runs."""
        self._stopping = threading.Event()
        for each in self._functions:
            threading.Thread(
                target=self._repeat,
                args=(each, self._stopping),
                name=f"schedule-{each.name}",
                daemon=True,
            ).start()

    def stop(self) -> None:
        """Begin no more runs. One that is under way ends by itself, or with the process."""
        self._stopping.set()

    def _repeat(self, each: ScheduledFunction, stopping: threading.Event) -> None:
        while not stopping.wait(self._every or each.seconds):
            run_once(each)


def run_once(each: ScheduledFunction) -> None:
    """Run a function as EventBridge does; what it raises is logged."""
    request_id = str(uuid.uuid4())
    context = LambdaContext(request_id, time.monotonic() + FUNCTION_SECONDS)
    try:
        each.function(_event(each.name), context)
    except Exception:  # noqa: BLE001 - the next run tries again
        _log.exception("the scheduled function %s raised [%s]", each.name, request_id)


def _event(name: str) -> dict[str, Any]:
    """Return the event of a rule with a rate.

    Source: Amazon EventBridge User Guide, "Creating a rule that runs on a schedule".
    """
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": ACCOUNT_ID,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [f"arn:aws:events:{REGION}:{ACCOUNT_ID}:rule/moorage-{name}"],
        "detail": {},
    }
