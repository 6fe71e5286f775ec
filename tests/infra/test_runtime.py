"""The packaged zip at work: under AWS's runtime client, on what the data stack's template made.

The template lists the functions: one without a run here fails the tests. A socket replaces X-Ray's
daemon: no test sees what X-Ray makes of the documents.
"""

from __future__ import annotations

import base64
import json
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from chalicelib.access.credentials import generate
from chalicelib.digest import Algorithm, Digest
from chalicelib.stores.aws.workers import stretch_event
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.keys import link_key
from moorage.gateway.event import GatewayRequest, build_event
from moorage.gateway.resources import MatchedResource
from tests.infra import deployed
from tests.infra.runtime import Function, function_environment, run_bare, running
from tests.support.parted import parted
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.emulators.backends import Backend
    from tests.infra.deployed import World

pytestmark = deployed.LINUX
paths = deployed.paths
cloud = deployed.cloud
world = deployed.world

IMAGE = "application/vnd.oci.image.manifest.v1+json"

CHUNK = 4 * 1024 * 1024
"""Two are larger than S3's smallest part; one fits into a function's event."""

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
"""The event of a rule with a schedule and without an input of its own.

Source: Amazon EventBridge User Guide, "Creating a rule that runs on a schedule".
"""

TRACE, SEGMENT = "1-5bef4de7-ad49b0e87f6ef6c87fc2e700", "53995c3f42cd8ad8"
SAMPLED = f"Root={TRACE};Parent={SEGMENT};Sampled=1"


def test_the_zip_runs_without_other_packages(paths: tuple[Path, ...]) -> None:
    """It does not use Lambda's own SDK."""
    program = (
        "import sys, json, app\n"
        "event = json.load(sys.stdin)\n"
        "print(json.dumps(app.app(event, None)))\n"
        "print(json.dumps(sorted({getattr(m, '__file__', None) or '' for m in"
        " list(sys.modules.values())})))\n"
    )
    incoming = GatewayRequest("GET", "/", "", (), "127.0.0.1", 80)
    event = build_event(incoming, MatchedResource("/", "/", None), b"", None)
    environment = function_environment(paths[:2], MOORAGE_AUTH="off")
    done = run_bare(program, environment, cwd=paths[0], given=json.dumps(event))
    assert done.returncode == 0, done.stderr
    *_, answer, files = done.stdout.splitlines()
    assert json.loads(answer)["statusCode"] == 200
    assert [name for name in json.loads(files) if "/site-packages/" in name] == []


def test_a_ping_without_a_login_is_401_with_a_challenge(world: World) -> None:
    """The challenge has the registry's URL."""
    status, headers, _ = world.ask("GET", "/v2/")
    assert status == 401
    realm = f'Bearer realm="{world.url}/v2/_token",service="{urlsplit(world.url).netloc}"'
    assert headers["WWW-Authenticate"] == realm


@pytest.mark.parametrize("path", ["/v2/", "/v2/team/app/tags/list", "/v2/_token"])
def test_only_options_needs_no_login(world: World, path: str) -> None:
    """A browser's preflight has no login. By default the function allows no page."""
    asked = {"Origin": "https://ui.example.com", "Access-Control-Request-Method": "GET"}
    status, headers, _ = request(world.url, "OPTIONS", path, headers=asked)
    assert (status, "OPTIONS" in headers["Allow"].split(", ")) == (204, True)
    assert "Access-Control-Allow-Origin" not in headers
    seen = len(world.events)
    if path != "/v2/_token":
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
            assert request(world.url, method, path, headers=asked)[0] == 401
    assert len(world.events) == seen


def test_the_authorizer_refuses_unknown_tokens(world: World) -> None:
    """Other tests use known ones."""
    wrong = f"Basic {base64.b64encode(f'admin:{generate()}'.encode()).decode()}"
    assert world.ask("GET", "/v2/", Authorization=wrong)[0] == 401


def push(world: World, name: str, data: bytes) -> dict[str, Any]:
    """Push a blob in one chunk, as docker does, and return its descriptor."""
    digest = str(Digest.of(data))
    status, headers, body = world.close(world.append(world.start(name), data), digest)
    assert status == 201, body
    assert headers["Docker-Content-Digest"] == digest
    return {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}


def test_an_image_is_pushed_and_pulled(world: World) -> None:
    """Every byte is the same, through the packaged code and the data stack's resources."""
    layer, config = bytes(range(256)) * 200, b"{}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": push(world, "team/app", config),
            "layers": [push(world, "team/app", layer)],
        }
    ).encode()
    put = world.ask(
        "PUT", "/v2/team/app/manifests/1", manifest, Authorization=world.basic, Content_Type=IMAGE
    )
    assert put[0] == 201, put[2]
    status, headers, body = world.ask(
        "GET", "/v2/team/app/manifests/1", Authorization=world.basic, Accept=IMAGE
    )
    assert (status, body, headers["Content-Type"]) == (200, manifest, IMAGE)
    status, _, body = world.ask(
        "GET", f"/v2/team/app/blobs/{Digest.of(layer)}", Authorization=world.basic
    )
    assert (status, body) == (200, layer)


def test_a_domains_base_path_changes_no_answer(world: World) -> None:
    """Behind a base path mapping the event's `path` begins with it."""
    assert world.ask("GET", "/v2/_catalog", Authorization=world.basic)[0] == 200
    event = world.events[-1]
    mapped = {
        **event,
        "path": f"/v2{event['path']}",
        "requestContext": {**event["requestContext"], "domainName": "registry.example.com"},
    }
    plain, behind = world.api(event), world.api(mapped)
    assert plain["statusCode"] == 200
    for each in (plain, behind):
        each["headers"] = {n: v for n, v in each["headers"].items() if "request" not in n.lower()}
        each.pop("multiValueHeaders", None)
    assert behind == plain


def uploaded(world: World, name: str, *chunks: bytes) -> tuple[str, str]:
    """Open an upload and send chunks; return its next location, and its session."""
    location = world.start(name)
    for chunk in chunks:
        location = world.append(location, chunk)
    return location, urlsplit(location).path.rpartition("/")[2]


class Stored:
    """The functions' stored state, read directly."""

    def __init__(self, world: World, cloud: Backend) -> None:
        self._bucket = world.environment["MOORAGE_BUCKET"]
        self._table = world.environment["MOORAGE_UPLOADS_TABLE"]
        self._registry = world.environment["MOORAGE_REGISTRY_TABLE"]
        self._s3, self._dynamodb = cloud.s3(), cloud.dynamodb()

    def state(self, session: str) -> str:
        """Return a session's state."""
        key = {"session": {"S": session}}
        item = self._dynamodb.get_item(TableName=self._table, Key=key, ConsistentRead=True)["Item"]
        return item["state"]["S"]

    def age(self, session: str, seconds: float) -> None:
        """Make a session's life end so many seconds ago."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key={"session": {"S": session}},
            UpdateExpression="SET life_until = :end, sweep_at = :end",
            ConditionExpression="sweep_at = life_until",
            ExpressionAttributeValues={":end": {"N": repr(time.time() - seconds)}},
        )

    def unused(self, repository: str, digest: Digest, seconds: float) -> None:
        """Let a link be as if nobody had relied on it for so many seconds."""
        self._dynamodb.update_item(
            TableName=self._registry,
            Key=key_attributes(link_key(repository, digest)),
            UpdateExpression="SET touched_at = :then",
            ConditionExpression="attribute_exists(pk)",
            ExpressionAttributeValues={":then": {"N": repr(time.time() - seconds)}},
        )

    def objects_of(self, digest: Digest) -> list[str]:
        """Return the keys of a blob's objects."""
        found = self._s3.list_objects_v2(Bucket=self._bucket).get("Contents", [])
        return [each["Key"] for each in found if digest.hex in each["Key"]]

    def put(self, key: str, data: bytes) -> str:
        """Store an object; return its ETag."""
        etag: str = self._s3.put_object(Bucket=self._bucket, Key=key, Body=data)["ETag"]
        return etag

    def staged(self, session: str) -> list[str]:
        """Return the keys of a session's objects and open multipart uploads."""
        prefix = f"uploads/{session}/"
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
        begun = self._s3.list_multipart_uploads(Bucket=self._bucket, Prefix=prefix)
        listed = [*found.get("Contents", []), *begun.get("Uploads", [])]
        return sorted(each["Key"].removeprefix(prefix) for each in listed)


def a_new_bearer_token_is_authorized(world: World, _: Stored) -> None:
    """The gateway has no cached answer for it, and asks the authorizer."""
    query = f"service={urlsplit(world.url).netloc}&scope=repository:a/b:pull,push"
    status, _headers, body = world.ask("GET", f"/v2/_token?{query}", Authorization=world.basic)
    assert status == 200
    bearer = f"Bearer {json.loads(body)['token']}"
    assert world.ask("GET", "/v2/", Authorization=bearer)[0] == 200


def a_commit_is_handed_to_the_commit_function(world: World, stored: Stored) -> None:
    """A PUT without enough time hands its commit over; a repeated PUT finds it done.

    The digest is in another algorithm than the saved hash, so that the session passes every state.
    """
    chunks = [bytes([number]) * CHUNK for number in range(2)] + [b"the tail"]
    content = b"".join(chunks)
    digest = str(Digest.of(content, Algorithm.SHA512))
    location, session = uploaded(world, "team/large", *chunks)
    assert stored.staged(session) != []
    with world.hurried(1.0):
        status, headers, body = world.close(location, digest)
    assert (status, headers["Retry-After"]) == (503, "1"), body
    # The SDK repeats a call whose answer is late.
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


def segments_are_hashed(world: World, stored: Stored) -> None:
    """A driver asks about an object's parts, and is answered which hold."""
    blob = parted(bytes(200), 64, 64)
    stretch = blob.stretch("direct/s/parts", stored.put("direct/s/parts", blob.data))
    assert world.functions["Verify"](stretch_event(stretch)) == {"held": [0, 1, 2], "wrong": []}
    lost = stretch_event(blob.stretch("direct/none/parts", stretch.etag))
    assert set(world.functions["Verify"](lost)) == {"lost"}


def an_expired_upload_is_cancelled(world: World, stored: Stored) -> None:
    """What it stored is deleted; another upload stays open."""
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


def what_no_image_needs_is_deleted(world: World, stored: Stored) -> None:
    """A blob that no manifest names goes, once it is old enough; another one stays."""
    old, young = (b"nobody names this", b"nor this")
    for data in (old, young):
        target = f"/v2/team/unnamed/blobs/uploads/?digest={Digest.of(data)}"
        kind = "application/octet-stream"
        posted = world.ask("POST", target, data, Authorization=world.basic, Content_Type=kind)
        assert posted[0] == 201
    stored.unused("team/unnamed", Digest.of(old), 3 * 86_400.0)
    assert world.functions["Collect"](HOURLY) is None
    there = [
        world.ask("HEAD", f"/v2/team/unnamed/blobs/{Digest.of(data)}", Authorization=world.basic)[0]
        for data in (old, young)
    ]
    assert there[0] == 404
    assert there[1] in {200, 307}
    assert stored.objects_of(Digest.of(old)) == []


DRIVERS = {"Commit", "Sweep"}
RUNS: dict[str, Callable[[World, Stored], None]] = {
    "APIHandler": a_new_bearer_token_is_authorized,
    "Authorizer": a_new_bearer_token_is_authorized,
    "Commit": a_commit_is_handed_to_the_commit_function,
    "Verify": segments_are_hashed,
    "Sweep": an_expired_upload_is_cancelled,
    "Collect": what_no_image_needs_is_deleted,
}


def test_every_function_has_a_run(world: World) -> None:
    """The table has exactly the functions of the packaged template."""
    assert set(RUNS) == set(world.functions)


@pytest.mark.parametrize("name", RUNS)
def test_a_function_runs(world: World, cloud: Backend, name: str) -> None:
    """The template's handler in the zip is invoked, and does its work."""
    function = world.functions[name]
    before = function.returned
    RUNS[name](world, Stored(world, cloud))
    assert function.returned > before
    assert function.failed == []


@pytest.mark.parametrize("name", ["Sweep", "Collect"])
def test_an_hourly_rule_sends_the_default_event(world: World, name: str) -> None:
    """So the event above is the one that it sends."""
    events = deployed.packaged_functions(world.template)[name]["Events"].values()
    assert [(each["Type"], set(each["Properties"])) for each in events] == [
        ("Schedule", {"Schedule"})
    ]


@pytest.mark.parametrize(("called", "callers"), [("Commit", {"APIHandler"}), ("Verify", DRIVERS)])
def test_a_functions_name_is_known_to_those_that_invoke_it(
    world: World, called: str, callers: set[str]
) -> None:
    """The API hands commits over, and verifies nothing large; who drives commits has verifiers."""
    named = f"MOORAGE_{called.upper()}_FUNCTION"
    given = {name: each[named] for name, each in world.environments.items() if named in each}
    assert given == dict.fromkeys(callers, deployed.called(called))


class Daemon:
    """A socket that replaces Lambda's daemon."""

    def __init__(self, listening: socket.socket) -> None:
        self._socket = listening
        self.address = "{}:{}".format(*listening.getsockname())

    def taken(self) -> list[dict[str, Any]]:
        """Return the documents since the last call: datagrams on loopback arrive at once."""
        found: list[dict[str, Any]] = []
        while True:
            try:
                datagram = self._socket.recv(64 * 1024)
            except BlockingIOError:
                return found
            head, _, document = datagram.partition(b"\n")
            assert json.loads(head) == {"format": "json", "version": 1}
            found.append(json.loads(document))


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """A daemon that has received nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(0)
        yield Daemon(listening)


def push_to(function: Function, world: World, blob: bytes) -> None:
    """Push a blob in one request, with the principal that the authorizer returned."""
    assert world.ask("GET", "/v2/", Authorization=world.basic)[0] == 200
    principal = world.events[-1]["requestContext"]["authorizer"]
    path = "/team/app/blobs/uploads"
    incoming = GatewayRequest("POST", path, f"digest={Digest.of(blob)}", (), "127.0.0.1", 80)
    event = build_event(incoming, MatchedResource("/{proxy+}", path, path[1:]), blob, principal)
    answer = function(event)
    assert answer["statusCode"] == 201, answer


def packaged(
    paths: tuple[Path, ...], world: World, daemon: Daemon, tracing: str
) -> AbstractContextManager[Function]:
    """Run another process of the packaged API's function, on the same data."""
    given = {"MOORAGE_TRACING": tracing, "AWS_XRAY_DAEMON_ADDRESS": daemon.address}
    return running("app.app", paths, world.environment | given)


def test_each_aws_call_of_a_sampled_request_is_a_subsegment(
    paths: tuple[Path, ...], world: World, daemon: Daemon, capfd: pytest.CaptureFixture[str]
) -> None:
    """Below Lambda's segment; a request that is not sampled sends none."""
    with packaged(paths, world, daemon, "1") as function:
        function.trace = SAMPLED.replace("Sampled=1", "Sampled=0")
        push_to(function, world, b"not sampled")
        assert daemon.taken() == []
        function.trace = SAMPLED
        push_to(function, world, b"sampled")
        told = daemon.taken()
    lines = [json.loads(each) for each in capfd.readouterr().out.splitlines() if each[:1] == "{"]
    counted = [line for line in lines if line.get("operation") == "uploads.start"][-1]
    calls = Counter(each["name"] for each in told)
    assert calls == {"s3": counted["s3_calls"], "dynamodb": counted["dynamodb_calls"]}
    operations = [each["aws"]["operation"] for each in told]
    assert operations.count("PutObject") == calls["s3"] == 1
    assert {(each["trace_id"], each["parent_id"]) for each in told} == {(TRACE, SEGMENT)}
    assert len({each["id"] for each in told}) == len(told)
    for each in told:
        assert (each["type"], each["namespace"]) == ("subsegment", "aws")
        assert 0 < each["end_time"] - each["start_time"] < 60
        assert each["http"]["response"]["status"] == 200
    assert Digest.of(b"sampled").hex not in json.dumps(told)


def test_without_tracing_no_subsegment_is_sent(
    paths: tuple[Path, ...], world: World, daemon: Daemon
) -> None:
    """Even if the request is traced by API Gateway, say."""
    with packaged(paths, world, daemon, "0") as function:
        function.trace = SAMPLED
        push_to(function, world, b"off")
    assert daemon.taken() == []
