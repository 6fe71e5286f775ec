"""Drill 3: each call of every operation fails in every way that AWS fails; then many at random.

In memory the ports fail as adapters do; over moto the wire between botocore and moto does. A client
that tries again ends with the right bytes, and no answer on the way is another than 429, 503 with
a time, or the true one. A client that does not get through is a loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.errors import TooManyRequestsError, UnavailableError
from tests.drills.crashes import judge, undisturbed
from tests.drills.figures import Figures
from tests.drills.support.client import CLIENTS_PUT, Stage
from tests.drills.support.ledger import Violation
from tests.drills.support.points import UNDER_WAY, Act, Gate, Late, as_repeated, failing, repeat
from tests.drills.support.requests import GaveUpError
from tests.drills.support.wire import ways
from tests.drills.support.worlds import AwsWorld

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tests.drills.operations import Operation
    from tests.drills.support.worlds import World

_ITEM_WRITES = frozenset({"dynamodb.put_item", "dynamodb.update_item", "dynamodb.delete_item"})
"""Requests that may reach DynamoDB late; a transaction has a token that prevents it."""

_OBJECT_WRITES = frozenset(
    f"{prefix}.{name}"
    for prefix, names in (
        ("objects", ("put", "copy", "put_part", "copy_part")),
        ("s3", ("put_object", "copy_object", "upload_part", "upload_part_copy")),
    )
    for name in names
) | {CLIENTS_PUT}
"""Requests that may reach S3 late."""

_PORTS: Mapping[str, Act | Late] = {
    "repeat": repeat,
    "unavailable": failing(UnavailableError),
    "unavailable after": failing(UnavailableError, after=True),
    "throttled": failing(TooManyRequestsError),
    "throttled after": failing(TooManyRequestsError, after=True),
}
_AFTER_ALL = 10_000
"""More calls than any operation makes."""

_LATE: Mapping[str, Act | Late] = {
    "again 1 later": Late(1, as_repeated),
    "again 4 later": Late(4, as_repeated),
    "again at the end": Late(_AFTER_ALL, as_repeated),
    "unavailable, and done at the end": Late(_AFTER_ALL, failing(UnavailableError)),
}


def drill(
    world: World,
    operations: Iterable[Operation],
    *,
    every: bool,
    only: str = "",
    first_loss: bool = False,
) -> Figures:
    """Let each call of each operation fail: in `every` way, or each call in one of them.

    `only`: what the names of the ways have to contain. `first_loss`: end with the first loss.
    """
    figures = Figures()
    for operation in operations:
        trace = undisturbed(world, operation)
        for point, call in enumerate(trace):
            names = [name for name in acts(world, call) if only in name]
            # Neighbouring calls take other ways, so that each way is taken.
            chosen = names if every or not names else [names[figures.faults % len(names)]]
            for way in chosen:
                figures.faults += 1
                with figures.losing(f"fault/{world.name}/{operation.name}/{point}/{call}/{way}"):
                    disturb(world, operation, point, call, way)
                if first_loss and figures.losses:
                    return figures
    return figures


def acts(world: World, call: str) -> Mapping[str, Act | Late]:
    """All ways in which a call can fail."""
    # No client of Lambda exists here: workers fail at their port, as in memory. Nor does a PUT
    # that a client of the registry sends go through the registry's own client of S3.
    aws = isinstance(world, AwsWorld) and not call.startswith(("workers.", CLIENTS_PUT))
    wire = world.wire if isinstance(world, AwsWorld) and aws else None
    found: Mapping[str, Act | Late] = ways(wire, call) if wire else _PORTS
    late = _LATE if call in _ITEM_WRITES | _OBJECT_WRITES else {}
    if call.endswith(UNDER_WAY):  # its answer alone can be lost
        return {name: act for name, act in _PORTS.items() if act is not repeat}
    return {**found, **late}


def disturb(world: World, operation: Operation, point: int, call: str, way: str) -> None:
    """Let one call of an operation fail in one way; its client tries again.

    Where the SDK sends a call twice, the client need not: the second one recognises the first.
    """
    stage, prepared = Stage.prepared(world, operation)
    gate = Gate({point: acts(stage.world, call)[way]})
    try:
        operation.act(stage.client(gate, patient=way != "repeat"), prepared)
    except GaveUpError as error:
        raise Violation("a call that was sent twice was not recognised") from error
    gate.arrive()
    judge(stage)
