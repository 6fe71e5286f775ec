"""What an invocation's tally counts, whose calls are whose, and the line that comes of it."""

from __future__ import annotations

import contextvars
import logging
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from unittest import mock

import pytest

from chalicelib.access.decision import Principal, PrincipalKind
from chalicelib.access.grants import NOTHING
from chalicelib.api.dispatch import answer
from chalicelib.errors import RegistryError, UnavailableError
from chalicelib.telemetry import log
from chalicelib.telemetry.line import LogLine, line_of
from chalicelib.telemetry.tally import StoreEvent, Tally, current, note, tallied
from chalicelib.wiring import access
from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    Lines = Callable[[], list[dict[str, Any]]]

ROOT = PROJECT
DOCS = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
LOG = logging.getLogger("moorage.test")
SECRET = "Basic hunter2"  # noqa: S105 - what must be nowhere


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """Give the lines written so far, as what they have for keys."""
    caplog.set_level(logging.INFO, logger="moorage")
    return lambda: [vars(record) for record in caplog.records if hasattr(record, "s3_calls")]


def printed(program: str) -> str:
    """Run a program in a process of its own, and return what it prints."""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return ran.stdout


def test_a_call_counts_once_and_its_repeats_are_retries() -> None:
    """Three requests for two calls are one retry; a call that was never sent is none."""
    tally = Tally()
    for _ in range(2):
        tally.count(tally.calls, "s3")
    assert tally.retries == 0
    for _ in range(3):
        tally.count(tally.sent, "s3")
    assert (tally.calls["s3"], tally.retries) == (2, 1)


def test_only_the_first_invocation_of_a_process_is_cold() -> None:
    """Whatever it was that the process did first."""
    written = printed(
        "from chalicelib.telemetry.tally import tallied\n"
        "for _ in range(3):\n"
        "    with tallied() as tally: print(tally.cold_start)\n"
    )
    assert written.split() == ["True", "False", "False"]


def test_an_event_counts_into_the_innermost_open_tally() -> None:
    """Without one nothing is counted: a command, or a process that starts, has none."""
    assert current() is None
    note(StoreEvent.RESUMED)
    with tallied() as outer:
        with tallied() as inner:
            assert current() is inner
            note(StoreEvent.RESUMED)
        note(StoreEvent.UNHASHED)
    assert current() is None
    assert (dict(inner.events), dict(outer.events)) == (
        {StoreEvent.RESUMED: 1},
        {StoreEvent.UNHASHED: 1},
    )


@pytest.mark.parametrize(
    ("action", "status", "written"),
    [
        ("authorize", 200, False),
        ("authorize", 401, False),
        ("authorize", 429, True),
        ("authorize", 503, True),
        ("pull", 404, False),
        ("push", 416, False),
        ("push", 503, True),
        ("commit", 202, False),
        ("commit", 404, True),
        ("commit", 500, True),
        ("sweep", 200, False),
        ("collect", 200, False),
    ],
)
def test_failures_are_logged_as_warnings(
    lines: Lines, caplog: pytest.LogCaptureFixture, action: str, status: int, *, written: bool
) -> None:
    """Alarms count these lines; a client's usual errors are left out."""
    caplog.set_level(logging.WARNING, logger="moorage")
    with log.invocation(LOG, action, status=status):
        pass
    assert [each["status"] for each in lines()] == [status] * written


@pytest.mark.parametrize(
    ("fields", "written"),
    [
        ({"pass_age": log.LONGEST_PASS}, False),
        ({"pass_age": log.LONGEST_PASS + 1}, True),
        ({"lost": 1, "pass_age": None}, True),
    ],
)
def test_a_collector_that_lost_something_or_lasts_too_long_is_logged_as_a_warning(
    lines: Lines, caplog: pytest.LogCaptureFixture, fields: dict[str, int], *, written: bool
) -> None:
    """Alarms count these lines, too."""
    caplog.set_level(logging.WARNING, logger="moorage")
    with log.invocation(LOG, "collect") as line:
        line.update(fields)
    assert [each["status"] for each in lines()] == [200] * written


def test_a_thread_counts_for_the_invocation_whose_context_it_has() -> None:
    """A thread with a context of its own counts for nobody, and never for the wrong one."""
    with tallied() as mine, ThreadPoolExecutor(1) as pool:
        assert pool.submit(contextvars.copy_context().run, current).result(30) is mine
        assert pool.submit(contextvars.Context().run, current).result(30) is None


def test_counting_from_many_threads_loses_nothing() -> None:
    """Parts are copied eight at a time."""
    with tallied() as tally, ThreadPoolExecutor(8) as pool:
        for _ in range(8000):
            pool.submit(tally.count, tally.calls, "s3")
    assert tally.calls["s3"] == 8000


def test_a_line_sums_up_its_tally() -> None:
    """Services other than the two are counted together."""
    tally = Tally(cold_start=True)
    for service in ("s3", "dynamodb", "dynamodb", "ssm", "lambda"):
        tally.count(tally.calls, service)
    tally.count(tally.events, StoreEvent.TAKEN_OVER)
    made = line_of(tally, action="push", status=201, repository="a/b")
    assert (made.s3_calls, made.dynamodb_calls, made.other_calls) == (1, 2, 2)
    assert (made.cold_start, made.taken_over, made.resumed) == (True, True, False)
    assert (made.repository, made.digest, made.retries) == ("a/b", None, 0)
    assert made.milliseconds >= 0


def test_every_field_is_documented() -> None:
    """docs/observability.md has a row for each, and no other; what stores note is a field."""
    rows = DOCS.partition("## The line")[2].partition("## ")[0]
    named = [
        name for row in re.findall(r"^\| (`.+?) \|", rows, re.MULTILINE) for name in row.split(", ")
    ]
    assert sorted(name.strip("`") for name in named) == sorted(LogLine._fields)
    assert {each.value for each in StoreEvent} <= set(LogLine._fields)


def test_a_fault_before_the_api_exists_is_a_line(lines: Lines) -> None:
    """For example a missing setting: status and error, and no field of the request."""

    def build() -> Any:  # noqa: ANN401 - never returns
        raise ValueError("MOORAGE_BUCKET")

    assert answer(build, lambda: cast("Any", None)).status == 500
    (told,) = lines()
    assert (told["status"], told["error"], told["path"]) == (500, "UNKNOWN", None)


@pytest.mark.parametrize(
    ("found", "status", "error", "principal"),
    [
        (Principal(PrincipalKind.CREDENTIAL, "credential:x", NOTHING), 200, None, "credential:x"),
        (None, 401, "UNAUTHORIZED", None),
        (UnavailableError(), 503, "UNAVAILABLE", None),
        (ZeroDivisionError(), 500, "UNKNOWN", None),
    ],
)
def test_the_authorizer_has_a_line(  # noqa: PLR0913 - fixtures, and a row of the table
    monkeypatch: pytest.MonkeyPatch,
    lines: Lines,
    found: Principal | Exception | None,
    status: int,
    error: str | None,
    principal: str | None,
) -> None:
    """With the principal, a refusal or a failure, and never the header."""
    fixed = mock.Mock()
    fixed.identify.side_effect = [found]
    monkeypatch.setattr(access, "authenticator", lambda: fixed)
    if isinstance(found, Exception):
        with pytest.raises(type(found)):
            access.identify(SECRET)
    else:
        assert access.identify(SECRET) is found
    fixed.identify.assert_called_once_with(SECRET)
    (told,) = lines()
    assert (told["action"], told["status"], told["error"]) == ("authorize", status, error)
    assert told["principal"] == principal
    assert SECRET not in str(told)


def test_a_failing_function_writes_its_line_and_raises(lines: Lines) -> None:
    """The line says what it was about."""

    def fail() -> None:
        raise UnavailableError

    with pytest.raises(RegistryError), log.invocation(LOG, "commit", session="s"):
        fail()
    (told,) = lines()
    assert (told["session"], told["status"], told["error"]) == ("s", 503, "UNAVAILABLE")
    assert told["message"] == f"commit 503 {told['milliseconds']:.0f} ms"


def test_failing_metrics_change_no_answer(
    lines: Lines, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is logged, and other metrics are printed."""
    measured: list[LogLine] = []

    def broken(line: LogLine) -> None:
        raise ZeroDivisionError(line.action)

    monkeypatch.setattr(log, "_printers", [broken, measured.append])
    with log.invocation(LOG, "sweep"):
        pass
    assert len(lines()) == 1
    assert "an invocation was not measured" in caplog.text
    # A deployment that logs warnings only has its metrics all the same.
    caplog.set_level(logging.WARNING, logger="moorage")
    with log.invocation(LOG, "commit"):
        pass
    assert len(lines()) == 1
    assert [each.action for each in measured] == ["sweep", "commit"]


def test_telemetry_needs_no_sdk() -> None:
    """A local registry loads neither Powertools nor anything for it."""
    written = printed(
        "import sys\n"
        "from chalicelib.telemetry import line, log, metrics, tally\n"
        "print([name for name in sys.modules if 'powertools' in name or 'boto' in name])\n"
    )
    assert written.strip() == "[]"
