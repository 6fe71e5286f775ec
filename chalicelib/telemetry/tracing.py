"""Tracing: a subsegment for each call to AWS, under the segment that Lambda makes of an invocation.

Each goes as one datagram to the daemon that Lambda runs beside a function. AWS's own SDK for this
would add 2.5 MB to the package and a third of a second to each cold start, and is supported until
February 2027 only; the format is X-Ray's and stays.
This module must never send more of a call than its service, operation, table or bucket and outcome,
trace other HTTP than botocore's, nor let an error of tracing reach a request.
Sources: X-Ray Developer Guide, "Segment documents", "Sending trace data", "Concepts" (the header).
"""

import json
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final, Self

from chalicelib.dataclass import dataclass
from chalicelib.limits import THROTTLE_CODES
from chalicelib.telemetry import tally as telemetry

_log = logging.getLogger("moorage.tracing")

_HEADER: Final = "X-Amzn-Trace-Id"
_INVOCATION: Final = "_X_AMZN_TRACE_ID"
_DAEMON: Final = "AWS_XRAY_DAEMON_ADDRESS"
_PREFIX: Final = b'{"format":"json","version":1}\n'
_ROOT: Final = re.compile(r"1-[0-9a-f]{8}-[0-9a-f]{24}")
_PARENT: Final = re.compile(r"[0-9a-f]{16}")
_SUBSEGMENT: Final = "moorage-subsegment"
_RESOURCES: Final = {"TableName": "table_name", "Bucket": "bucket_name"}
"""The attribute of a trace for each of botocore's parameters; keys and items are not sent."""


@dataclass(frozen=True)
class Trace:
    """What Lambda says of the trace that an invocation belongs to."""

    id: str
    parent: str
    """Lambda's segment."""

    @classmethod
    def read(cls, header: str) -> Self | None:
        """Return the trace of a header; None if it is not sampled, or malformed.

        A function that is starting has none yet.
        """
        fields = dict(part.partition("=")[::2] for part in header.split(";"))
        root, parent = fields.get("Root", ""), fields.get("Parent", "")
        if not (_ROOT.fullmatch(root) and _PARENT.fullmatch(parent)):
            return None
        return cls(root, parent) if fields.get("Sampled") == "1" else None


@dataclass(frozen=True)
class Subsegment:
    """A call that has begun; `began` in seconds since the epoch."""

    service: str
    trace: Trace
    id: str
    began: float
    about: Mapping[str, str]

    def document(self, ended: float, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document that X-Ray is sent; `outcome`: the fields that say how it ended."""
        return {
            "name": self.service,
            "id": self.id,
            "trace_id": self.trace.id,
            "parent_id": self.trace.parent,
            "type": "subsegment",
            "namespace": "aws",
            "start_time": self.began,
            "end_time": ended,
            **outcome,
            "aws": {**self.about, **outcome.get("aws", {})},
        }


@dataclass(frozen=True)
class Tracer:
    """Sends a document for each call of clients. Lambda changes `environment` between calls."""

    environment: Mapping[str, str]
    send: Callable[[bytes], object]
    now: Callable[[], float] = time.time

    def watch(self, client: Any) -> None:  # noqa: ANN401 - botocore's clients are made at run time
        """Trace each call of a client, from what it is given to the head of the answer.

        A URL that is only signed is no call: nothing ends what begins with its parameters.
        """
        service, region = client.meta.service_model.endpoint_prefix, client.meta.region_name

        def begin(params: Mapping[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:  # noqa: ANN401 - botocore's
            with _harmless():
                trace = Trace.read(self.environment.get(_INVOCATION, ""))
                if trace is not None:
                    about = {"operation": model.name, "region": region} | {
                        to: params[at] for at, to in _RESOURCES.items() if at in params
                    }
                    begun = Subsegment(service, trace, _new_id(), self.now(), about)
                    context[_SUBSEGMENT] = begun

        # A handler that returned something would take the call's place: these return None.
        events = client.meta.events
        for event, handler in (
            ("before-parameter-build", begin),
            ("before-call", _pass_on),
            ("after-call", self._answered),
            ("after-call-error", self._failed),
        ):
            events.register(event, handler, unique_id=f"moorage-trace-{event}")

    def _answered(
        self,
        http_response: Any,  # noqa: ANN401 - botocore's
        parsed: Mapping[str, Any],
        context: dict[str, Any],
        **_: object,
    ) -> None:
        with _harmless():
            self._end(context, lambda: _answer(http_response.status_code, parsed))

    def _failed(self, exception: Exception, context: dict[str, Any], **_: object) -> None:
        with _harmless():
            kind = type(exception).__name__
            self._end(context, lambda: {"fault": True, "cause": _cause(kind, remote=False)})

    def _end(self, context: dict[str, Any], outcome: Callable[[], Mapping[str, Any]]) -> None:
        begun: Subsegment | None = context.pop(_SUBSEGMENT, None)
        if begun is not None:
            document = begun.document(self.now(), outcome())
            self.send(_PREFIX + json.dumps(document, separators=(",", ":")).encode())


def start(environment: Mapping[str, str]) -> None:
    """Trace the calls of all clients that are made from now on.

    The function's TracingConfig and X-Ray's sampling say whether there is a trace at all.
    """
    host, _, port = environment.get(_DAEMON, "").rpartition(":")
    if not (host and port.isascii() and port.isdecimal()):
        _log.warning("calls to AWS are not traced: %s names no daemon", _DAEMON)
        return
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.settimeout(0)  # a request never waits for its trace
    telemetry.watch(Tracer(environment, lambda data: daemon.sendto(data, (host, int(port)))).watch)


def _pass_on(params: dict[str, Any], context: Mapping[str, Any], **_: object) -> None:
    """Make the subsegment the parent in the header: the commit function's segment hangs below it.

    botocore has put Lambda's header there, quoted. The rest of it stays: by its lineage Lambda
    finds functions that call each other for ever.
    """
    with _harmless():
        begun: Subsegment | None = context.get(_SUBSEGMENT)
        header = params["headers"].get(_HEADER)
        if begun is not None and header is not None:
            under = header.replace(f"Parent={begun.trace.parent}", f"Parent={begun.id}")
            params["headers"][_HEADER] = under


def _answer(status: int, parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of an answer; a condition that does not hold is an error like others."""
    metadata = parsed.get("ResponseMetadata", {})
    known = {"request_id": metadata.get("RequestId"), "retries": metadata.get("RetryAttempts")}
    outcome: dict[str, Any] = {
        "http": {"response": {"status": status}},
        "aws": {key: value for key, value in known.items() if value},
    }
    if status < HTTPStatus.BAD_REQUEST:
        return outcome
    code = str(parsed.get("Error", {}).get("Code", status))
    flags = {"fault" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "error"}
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in THROTTLE_CODES:
        flags.add("throttle")
    return {**outcome, **dict.fromkeys(flags, True), "cause": _cause(code, remote=True)}


def _cause(kind: str, *, remote: bool) -> dict[str, object]:
    return {"exceptions": [{"id": _new_id(), "type": kind, "remote": remote}]}


def _new_id() -> str:
    return os.urandom(8).hex()


@contextmanager
def _harmless() -> Iterator[None]:
    try:
        yield
    except Exception:  # noqa: BLE001 - the call matters more than its trace
        _log.exception("a call to AWS was not traced")
