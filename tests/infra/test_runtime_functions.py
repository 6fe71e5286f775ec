"""Every function of the packaged template, run from the zip on what AWS would hand to it.

Which functions there are, the template says: one that has no run here fails.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from chalicelib.digest import Algorithm, Digest
from tests.infra import deployed
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulators.backends import Backend
    from tests.infra.deployed import World

pytestmark = deployed.LINUX
paths = deployed.paths
cloud = deployed.cloud
world = deployed.world

CHUNK = 4 * 1024 * 1024
"""Two are more than a part of S3's has to be, and one is less than a function can be sent."""

HOURLY = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2026-11-29T10:00:00Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/moorage-x-SweepSweepEvent-1A2B3C"],
    "detail": {},
}
"""What a rule with a schedule sends if it is given no input of its own.

Source: Amazon EventBridge User Guide, "Creating a rule that runs on a schedule".
"""


def uploaded(world: World, name: str, *chunks: bytes) -> tuple[str, str]:
    """Open an upload and send chunks; return where it goes on, and its session."""
    location = world.start(name)
    for chunk in chunks:
        location = world.append(location, chunk)
    return location, urlsplit(location).path.rpartition("/")[2]


class Stored:
    """What the functions keep, behind their backs."""

    def __init__(self, world: World, cloud: Backend) -> None:
        self._bucket = world.environment["MOORAGE_BUCKET"]
        self._table = world.environment["MOORAGE_UPLOADS_TABLE"]
        self._s3, self._dynamodb = cloud.s3(), cloud.dynamodb()

    def state(self, session: str) -> str:
        """Return where a session stands."""
        key = {"session": {"S": session}}
        item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)["Item"]
        return item["state"]["S"]

    def age(self, session: str, seconds: float) -> None:
        """End a session's life so many seconds ago."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key={"session": {"S": session}},
            UpdateExpression="SET life_until = :end, sweep_at = :end",
            ConditionExpression="sweep_at = life_until",
            ExpressionAttributeValues={":end": {"N": repr(time.time() - seconds)}},
        )

    def staged(self, session: str) -> list[str]:
        """Return the keys of what a session keeps in S3, uploads that are not over among them."""
        prefix = f"uploads/{session}/"
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        begun = self._s3.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix)
        listed = [*found.get("Contents", []), *begun.get("Uploads", [])]
        return sorted(each["Key"].removeprefix(prefix) for each in listed)


def a_stranger_is_let_in(world: World, _: Stored) -> None:
    """A bearer token that the gateway has never seen is looked at, and its request is answered."""
    query = f"service={urlsplit(world.url).netloc}"
    status, _headers, body = world.ask("GET", f"/v2/_token?{query}", Authorization=world.basic)
    assert status == 200
    bearer = f"Bearer {json.loads(body)['token']}"
    assert world.ask("GET", "/v2/", Authorization=bearer)[0] == 200


def a_commit_is_handed_over(world: World, stored: Stored) -> None:
    """A PUT that has no time hands its commit over; repeated, it finds that done.

    The digest is not the one that was kept along the way, so that every state is walked through.
    """
    chunks = [bytes([number]) * CHUNK for number in range(2)] + [b"the tail"]
    content = b"".join(chunks)
    digest = str(Digest.of(content, Algorithm.SHA512))
    location, session = uploaded(world, "team/large", *chunks)
    assert stored.staged(session) != []
    with world.hurried(1.0):
        status, headers, body = world.close(location, digest)
    assert (status, headers["Retry-After"]) == (503, "1"), body
    # An SDK whose answer is late asks again.
    calls = world.invoked.calls
    assert [call.event for call in calls] == [{"session": session}] * max(len(calls), 1)
    assert world.functions["Commit"].result(calls[0]) is None
    assert (stored.state(session), stored.staged(session)) == ("committed", [])
    status, headers, body = world.close(location, digest)
    assert (status, headers["Docker-Content-Digest"]) == (201, digest), body
    blob = f"/v2/team/large/blobs/{digest}"
    status, headers, body = world.ask("GET", blob, Authorization=world.basic)
    assert status == 307, body
    s3 = urlsplit(headers["Location"])
    status, _headers, body = request(headers["Location"], "GET", f"{s3.path}?{s3.query}")
    assert (status, body) == (200, content)


def what_expired_is_cancelled(world: World, stored: Stored) -> None:
    """An upload whose life has ended is cancelled and what it stored goes; another lives on."""
    chunks = [bytes(CHUNK), bytes(CHUNK), b"the tail"]
    (_, old), (location, young) = (uploaded(world, "team/left", *chunks) for _ in range(2))
    kept = stored.staged(young)
    assert "data" in kept
    assert stored.staged(old) == kept
    stored.age(old, 60.0)
    assert world.functions["Sweep"](HOURLY) is None
    assert (stored.state(old), stored.staged(old)) == ("cancelled", [])
    assert (stored.state(young), stored.staged(young)) == ("open", kept)
    assert world.ask("GET", location, Authorization=world.basic)[0] == 204


RUNS: dict[str, Callable[[World, Stored], None]] = {
    "APIHandler": a_stranger_is_let_in,
    "Authorizer": a_stranger_is_let_in,
    "Commit": a_commit_is_handed_over,
    "Sweep": what_expired_is_cancelled,
}


def test_every_function_has_a_run(world: World) -> None:
    """The table names the functions of the packaged template, all of them and no other."""
    assert set(RUNS) == set(world.functions)


@pytest.mark.parametrize("name", RUNS)
def test_a_function_runs(world: World, cloud: Backend, name: str) -> None:
    """The zip's own code was invoked, by its handler, and did what it is for."""
    function = world.functions[name]
    before = function.returned
    RUNS[name](world, Stored(world, cloud))
    assert function.returned > before
    assert function.failed == []


def test_a_schedule_has_no_input_of_its_own(world: World) -> None:
    """What the sweep function is sent above is what the packaged rule sends."""
    events = deployed.packaged_functions(world.template)["Sweep"]["Events"].values()
    assert [(each["Type"], set(each["Properties"])) for each in events] == [
        ("Schedule", {"Schedule"})
    ]


def test_a_commit_function_is_invoked_by_its_name(world: World) -> None:
    """The API can invoke that one, and the other functions are told of none."""
    named = "MOORAGE_COMMIT_FUNCTION"
    told = {name: each[named] for name, each in world.environments.items() if named in each}
    assert told == {"APIHandler": deployed.called("Commit")}
