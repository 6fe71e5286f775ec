"""Which alarms ring for each way in which the authorizer and the commit function can end.

The functions run under Lambda's runtime client. Their output goes through the templates' filters,
and the results into the alarms' expressions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Final, NamedTuple

import pytest

from moorage.common.project import PROJECT
from tests.infra.filter_patterns import matches
from tests.infra.templates import API, CONFIG
from tests.infra.test_observability import (
    ALARMS,
    API_STACK,
    ERRORS,
    FUNCTIONS,
    REQUESTS,
    UNKNOWN,
    Metric,
    filters,
    function,
    rings,
)

_PROGRAM = """
import json, os, sys
from types import SimpleNamespace as Double
from awslambdaric import bootstrap
from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller
import app, chalicelib
from chalicelib import errors
from chalicelib.wiring import access
from chalicelib.wiring import registry as wiring
from chalicelib.access.decision import Principal, PrincipalKind
from chalicelib.access.grants import NOTHING
from chalicelib.registry.session import Session, UploadState

def ending(outcome):
    def end(*_):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome
    return end

def asking(outcome):
    authenticator = Double(identify=ending(outcome))
    return lambda: setattr(access, "authenticator", lambda: authenticator)

def driving(outcome):
    built = Double(commits=Double(resume=ending(outcome)))
    return lambda: setattr(wiring, "registry", lambda: built)

def ended(state):
    return driving(Session("s", "a/b", "ann", "n", 0.0, 0.0, state=state))

def not_importable():
    del chalicelib.wiring.access
    sys.modules["chalicelib.wiring.access"] = None

event = {"type": "TOKEN", "authorizationToken": "Basic eA==", "methodArn": "a:b:c:d:e:api/v2/GET/"}
authorizer = {
    "unset": lambda: None,  # the authenticator of a deployment, without its settings
    "known": asking(Principal(PrincipalKind.CREDENTIAL, "credential:x", NOTHING)),
    "unknown": asking(None),
    "throttled": asking(errors.TooManyRequestsError()),
    "unavailable": asking(errors.UnavailableError()),
    "fault": asking(ZeroDivisionError()),
    "fault like a 401": asking(ValueError("Unauthorized")),
    "unimportable": not_importable,
}
commit = {
    "committed": ended(UploadState.COMMITTED),
    "unfinished": ended(UploadState.COPIED),
    "lost": ended(UploadState.CANCELLED),
    "gone": driving(None),
    "gone meanwhile": driving(errors.UploadUnknownError()),
    "false": driving(errors.UploadDigestInvalidError(offset=1)),
    "throttled": driving(errors.TooManyRequestsError()),
    "unavailable": driving(errors.UnavailableError()),
    "fault": driving(ZeroDivisionError()),
}
for name, handler, told, ways in (
    ("Authorizer", app.authorize, event, authorizer),
    ("Commit", app.commit, {"session": "s"}, commit),
):
    for way, prepare in ways.items():
        prepare()
        failed = []
        runtime = Double(
            marshaller=LambdaMarshaller(),
            post_invocation_error=lambda *_: failed.append(True),
            post_invocation_result=lambda *_: None,
        )
        bootstrap.handle_event_request(
            runtime, handler, "id", json.dumps(told), "application/json", None, None, "arn", 0,
            None, bootstrap.StandardLogSink(),
        )
        print("ended", json.dumps([name, way, bool(failed)]))
"""
"""Ends the functions in each way; a line after each output says whether Lambda counts an error."""


class End(NamedTuple):
    """The end of an invocation: its log events, and whether Lambda counts an error."""

    events: tuple[str, ...]
    is_error: bool


ENDS: Final = {
    ("Authorizer", "known"): set(),
    ("Authorizer", "unknown"): set(),
    ("Authorizer", "throttled"): {"AuthorizerAlarm", "AuthorizerErrorAlarm"},
    ("Authorizer", "unavailable"): {"AuthorizerAlarm", "AuthorizerErrorAlarm"},
    ("Authorizer", "fault"): {"AuthorizerAlarm", "AuthorizerErrorAlarm"},
    ("Authorizer", "fault like a 401"): {"AuthorizerAlarm", "AuthorizerErrorAlarm"},
    ("Authorizer", "unset"): {"AuthorizerErrorAlarm"},
    ("Authorizer", "unimportable"): {"AuthorizerErrorAlarm"},
    ("Authorizer", "timed out"): {"AuthorizerErrorAlarm"},
    ("Commit", "committed"): set(),
    ("Commit", "unfinished"): set(),
    ("Commit", "lost"): {"CommitAlarm"},
    ("Commit", "gone"): {"CommitAlarm"},
    ("Commit", "gone meanwhile"): {"CommitAlarm"},
    ("Commit", "false"): set(),
    ("Commit", "throttled"): {"CommitAlarm"},
    ("Commit", "unavailable"): {"CommitAlarm"},
    ("Commit", "fault"): {"CommitAlarm"},
    ("Commit", "timed out"): {"CommitAlarm"},
}
"""Every way to end, and the alarms that ring after three such ends."""

LEVELS: Final = API["Parameters"]["LogLevel"]["AllowedValues"]


@pytest.fixture(scope="module", params=LEVELS)
def ends(request: pytest.FixtureRequest) -> dict[tuple[str, str], End]:
    """Return the ends of invocations at a log level."""
    pytest.importorskip("awslambdaric", reason="Lambda's runtime client is Linux's")
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=PROJECT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONUTF8": "1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_LAMBDA_FUNCTION_NAME": "moorage-x-function",
            "POWERTOOLS_SERVICE_NAME": "moorage-x",
            "POWERTOOLS_LOG_LEVEL": request.param,
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    found: dict[tuple[str, str], End] = {}
    events: list[str] = []
    for line in ran.stdout.split("\n"):
        if line.startswith("ended "):
            name, way, is_error = json.loads(line.removeprefix("ended "))
            found[name, way] = End(tuple(events), is_error)
            events = []
        else:
            events.append(line)
    for name in ("Authorizer", "Commit"):
        # Lambda stops the function, and logs this line itself.
        seconds = CONFIG["stages"]["v2"]["lambda_functions"][name.lower()]["lambda_timeout"]
        found[name, "timed out"] = End(
            (f"Task timed out after {seconds}.00 seconds",), is_error=True
        )
    return found


def log_group(name: str) -> str:
    """Return the name of a function's log group, whose format is the default: text."""
    config = API["Resources"][name]["Properties"]["LoggingConfig"]
    assert set(config) == {"LogGroup"}
    group = API["Resources"][config["LogGroup"]["Ref"]]
    return API_STACK.text(group["Properties"]["LogGroupName"])


def counted(name: str, end: End, times: int) -> dict[Metric, float]:
    """Return CloudWatch's data after so many such ends of a function."""
    data: dict[Metric, float] = {function("Errors", name): float(end.is_error * times)}
    for each in filters():
        if each.log_group == log_group(name):
            number = sum(matches(each.pattern, event) for event in end.events)
            data[each.metric] = number * each.value * times
    return data


def ringing(name: str, end: End, times: int) -> set[str]:
    """Return the alarms that ring after so many such ends of a function, and no other event."""
    data = {REQUESTS: 100.0, **counted(name, end, times)}
    return {alarm for alarm, properties in ALARMS.items() if rings(properties, data)}


def test_every_end_rings_its_alarms(ends: dict[tuple[str, str], End]) -> None:
    """Unknown logins and unfinished commits ring none; failures do, with a line and without."""
    assert {key: ringing(key[0], end, 3) for key, end in ends.items()} == ENDS


def test_no_failure_counts_twice(ends: dict[tuple[str, str], End]) -> None:
    """A line and an error of one commit are one failure, not two."""
    for (name, way), end in ends.items():
        if name == "Commit":
            assert "CommitAlarm" not in ringing(name, end, 2), way


def test_an_unknown_login_is_one_error_and_one_line(ends: dict[tuple[str, str], End]) -> None:
    """So the alarm can subtract the lines from the errors; no other end writes that line."""
    data = counted("Authorizer", ends["Authorizer", "unknown"], 1)
    assert (data[ERRORS], data[UNKNOWN]) == (1, 1)
    for (name, way), end in ends.items():
        if (name, way) != ("Authorizer", "unknown"):
            assert not counted(name, end, 1).get(UNKNOWN), way


def test_every_filter_reads_the_log_group_of_a_function() -> None:
    """No other log group has events."""
    groups = {log_group(name) for name in FUNCTIONS}
    assert {each.log_group for each in filters()} <= groups
