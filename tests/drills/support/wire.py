"""The ways in which AWS fails, as they come over the wire, for the moto in this process.

Errors are worded as S3 and DynamoDB word them, and botocore reads them itself. This module must
never raise in a store's place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

from tests.drills.support.points import Act, Call, Late, repeat
from tests.emulators.lost_answers import aws_answer

if TYPE_CHECKING:
    from tests.drills.support.moto import Wire

Send = Callable[[], Any]
Fault = Callable[[Any, Send], Any]
"""Given the request and what sends it: an answer, or an exception of botocore's own."""

_MIXED = 4
"""Places in a transaction, counted around its end: no publication has more actions than that."""

_OTHERS_TIME = (1, 3, 6)
"""After how many calls another Complete is done: while its object is looked for, or later."""


def ways(wire: Wire, call: str) -> Mapping[str, Act | Late]:
    """All ways in which one call can fail, by the call's name at the client, e.g. s3.put_object."""
    service, _, operation = call.partition(".")
    faults: dict[str, Fault] = {
        "throttled": _refused(service, throttled=True),
        "internal error": _refused(service, throttled=False),
        "timeout after": _timed_out,
        "reset": _reset,
        "garbage after": _garbled,
        "internal error after": _after(_refused(service, throttled=False)),
    }
    if operation == "get_object":
        faults["cut short"] = _cut_short
    if operation == "complete_multipart_upload":
        faults["200 with an error"] = _error_in_200
        faults["conflict, the other one done"] = _conflict_lost
        faults["conflict, the other one never done"] = _conflict
    if operation == "transact_write_items":
        faults["conflict"] = _transaction_conflict
        for place in range(_MIXED):
            faults[f"conflict after failed condition {place}"] = _mixed(place, place + 1)
            faults[f"conflict before failed condition {place}"] = _mixed(place, place - 1)
    if operation == "batch_get_item":
        faults["half unread"] = _half_unread
    found: dict[str, Act | Late] = {name: _over(wire, fault) for name, fault in faults.items()}
    if operation == "complete_multipart_upload":
        for calls in _OTHERS_TIME:
            found[f"conflict, the other one done {calls} later"] = Late(
                calls, _over(wire, _conflict)
            )
    return found | {"repeat": repeat}


def letters(wire: Wire) -> Mapping[str, Act]:
    """The failures of `schedule.ACTS` as they come over the wire, whatever the call."""

    def any_service(*, throttled: bool) -> Fault:
        def fault(request: Any, send: Send) -> Any:  # noqa: ANN401 - botocore's own request
            service = "dynamodb" if "X-Amz-Target" in request.headers else "s3"
            return _refused(service, throttled=throttled)(request, send)

        return fault

    failed, throttled = any_service(throttled=False), any_service(throttled=True)
    faults = {
        "f": failed,
        "F": _after(failed),
        "t": throttled,
        "T": _after(throttled),
        "c": _cut_short,
    }
    return {letter: _over(wire, fault) for letter, fault in faults.items()}


def _over(wire: Wire, fault: Fault) -> Act:
    """Make the call while the wire does this to its first answer."""

    def once(request: Any, send: Send) -> Any:  # noqa: ANN401 - botocore's own request
        wire.fault = None
        return fault(request, send)

    def act(call: Call) -> Any:  # noqa: ANN401 - each call has an answer of its own
        with mock.patch.object(wire, "fault", once):
            return call()

    return act


def _refused(service: str, *, throttled: bool) -> Fault:
    def fault(request: Any, _send: Send) -> Any:  # noqa: ANN401 - likewise
        if service == "s3":
            code = "SlowDown" if throttled else "InternalError"
            return aws_answer(request.url, 503 if throttled else 500, _xml(code))
        if throttled:
            return aws_answer(request.url, 400, _json("ProvisionedThroughputExceededException"))
        return aws_answer(request.url, 500, _json("InternalServerError"))

    return fault


def _after(fault: Fault) -> Fault:
    def late(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
        send()
        return fault(request, send)

    return late


def _timed_out(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
    send()
    raise ReadTimeoutError(endpoint_url=request.url)


def _reset(request: Any, _send: Send) -> Any:  # noqa: ANN401 - likewise
    raise ConnectionClosedError(endpoint_url=request.url)


def _garbled(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
    """What a proxy in between may answer."""
    send()
    return aws_answer(request.url, 502, b"<html>Bad Gateway")


def _cut_short(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
    whole = send()
    content = whole.content
    return aws_answer(request.url, whole.status_code, content[: len(content) // 2], whole.headers)


def _error_in_200(request: Any, _send: Send) -> Any:  # noqa: ANN401 - likewise
    return aws_answer(request.url, 200, _xml("InternalError"))


def _conflict(request: Any, _send: Send) -> Any:  # noqa: ANN401 - likewise
    """Another Complete of the same upload is at it, and not done yet."""
    return aws_answer(request.url, 409, _xml("OperationAborted"))


def _conflict_lost(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
    """Another Complete of the same upload was at it, and has won."""
    send()
    return _conflict(request, send)


def _reasons(request: Any) -> list[dict[str, str]]:  # noqa: ANN401 - likewise
    return [{"Code": "None"} for _ in json.loads(request.body)["TransactItems"]]


def _cancelled(request: Any, reasons: list[dict[str, str]]) -> Any:  # noqa: ANN401 - likewise
    body = _json("TransactionCanceledException", CancellationReasons=reasons)
    return aws_answer(request.url, 400, body)


def _transaction_conflict(request: Any, _send: Send) -> Any:  # noqa: ANN401 - likewise
    return _cancelled(request, [*_reasons(request)[1:], {"Code": "TransactionConflict"}])


def _mixed(failed: int, busy: int) -> Fault:
    """One action's condition failed while another request was writing another action's item."""

    def fault(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
        reasons = _reasons(request)
        if len(reasons) == 1:
            return _transaction_conflict(request, send)
        reasons[failed % len(reasons)] = {"Code": "ConditionalCheckFailed"}
        reasons[busy % len(reasons)] = {"Code": "TransactionConflict"}
        return _cancelled(request, reasons)

    return fault


def _half_unread(request: Any, send: Send) -> Any:  # noqa: ANN401 - likewise
    """DynamoDB reads half of a batch, and names the keys that it left."""
    whole = json.loads(request.body)
    ((table, wanted),) = whole["RequestItems"].items()
    keys = wanted["Keys"]
    half = (len(keys) + 1) // 2
    request.body = json.dumps({"RequestItems": {table: {**wanted, "Keys": keys[:half]}}}).encode()
    read = json.loads(send().content)
    left = {table: {**wanted, "Keys": keys[half:]}} if keys[half:] else {}
    return aws_answer(request.url, 200, json.dumps({**read, "UnprocessedKeys": left}).encode())


def _xml(code: str) -> bytes:
    text = f"<Error><Code>{code}</Code><Message>ordered by a drill</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _json(code: str, **more: object) -> bytes:
    kind = f"com.amazonaws.dynamodb.v20120810#{code}"
    return json.dumps({"__type": kind, "message": "ordered by a drill", **more}).encode()
