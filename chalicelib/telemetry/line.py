"""The log line of one invocation, from which its metrics are made too.

This module must never hold a header, a query, a body or a token.
"""

from typing import Any, NamedTuple

from chalicelib.telemetry.tally import StoreEvent, Tally


class LogLine(NamedTuple):
    """The log line of one invocation; what does not apply is None. See `docs/observability.md`."""

    action: str | None
    """The action that a principal needs, or the function: commit, sweep, collect, authorize."""
    status: int
    """The HTTP status; other functions have the status that fits their outcome."""
    milliseconds: float
    cold_start: bool
    s3_calls: int
    dynamodb_calls: int
    other_calls: int
    retries: int
    resumed: bool
    taken_over: bool
    unhashed: bool
    committed: bool
    operation: str | None = None
    """The handler: `uploads.append`."""
    error: str | None = None
    """The code of the answer's error."""
    request_id: str | None = None
    method: str | None = None
    path: str | None = None
    repository: str | None = None
    digest: str | None = None
    session: str | None = None
    principal: str | None = None
    deadline_left: int | None = None
    """Milliseconds that the invocation still had."""
    bytes_in: int = 0
    bytes_out: int = 0
    bytes_redirected: int = 0
    """The size of the blob that S3 sends in place of the registry."""
    swept: dict[str, int] | None = None
    """How many sessions and manifests the sweeper left in which way."""
    finished: bool | None = None
    """Whether the sweeper finished all that was due, or the collector its pass."""
    expired: dict[str, int] | None = None
    """How many images retention looked at, and moved to the trash."""
    collected: dict[str, int] | None = None
    """How much the collector found, deleted and left, by kind."""
    bytes_freed: int | None = None
    """The bytes of the objects that it deleted."""
    lost: int | None = None
    """Blobs that the collector found without their bytes."""
    pass_age: int | None = None
    """Seconds since the collector's pass began; None between two passes."""


def line_of(tally: Tally, *, action: str | None, status: int, **fields: Any) -> LogLine:  # noqa: ANN401 - any field of LogLine
    """Return the line of an invocation: what its tally holds, and the fields given."""
    calls = tally.calls
    own = calls["s3"] + calls["dynamodb"]
    events: dict[str, Any] = {each.value: tally.events[each] > 0 for each in StoreEvent}
    return LogLine(
        action=action,
        status=status,
        milliseconds=round(tally.milliseconds, 1),
        cold_start=tally.cold_start,
        s3_calls=calls["s3"],
        dynamodb_calls=calls["dynamodb"],
        other_calls=calls.total() - own,
        retries=tally.retries,
        **events,
        **fields,
    )
