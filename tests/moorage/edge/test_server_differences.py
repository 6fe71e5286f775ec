"""Where CloudFront differs from what the edge relies on: an error says what to set; no wrong bytes.

docs/edge.md lists the points that only AWS can prove. Each is played here before a whole registry
over MiniStack, and `moorage doctor` looks at it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from moorage.common.http import registry_url
from moorage.doctor import run as doctor
from moorage.doctor.findings import Status
from moorage.doctor.visit import Visit, with_digest
from moorage.doctor.wire import Wire
from moorage.edge.event import EdgeRequest, request_event
from moorage.edge.origins import ApiOrigin, BucketOrigin, Origin
from moorage.edge.run import LocalStore, ticket_keys
from moorage.edge.runtime import EdgeFunction, EdgeOutcome
from moorage.edge.server import Edge, EdgeAnswer, EdgeOptions
from moorage.local import children, ports
from tests.support.edge import CODE, DISTRIBUTION
from tests.support.fake_http import FakeRequest, run_fake
from tests.support.servers import request, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from aiohttp import ClientResponse, web

    from moorage.doctor.checklist import CheckResult
    from tests.emulators.backends import Backend

DATA: Final = os.urandom(5_000_000)
DIGEST: Final = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
_GIVEN_UP: Final = 6_000_000
_DENIED: Final = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"
_MISMATCH: Final = b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code></Error>"


@dataclass(frozen=True)
class Behind:
    """A registry's gateway, and its environment."""

    gateway: str
    environment: Mapping[str, str]


@pytest.fixture(scope="module")
def behind(ministack: Backend) -> Iterator[Behind]:
    """A whole registry, behind its gateway, in a process of its own."""
    environment = {**os.environ, **ministack.fresh().environment}
    port = ports.free_port()
    command = (sys.executable, "-m", "moorage", "gateway", "--port", str(port), "--stop-with-input")
    child = children.start("gateway", command, environment)
    try:
        url = f"http://{ports.LOOPBACK}:{port}"
        children.wait_until_answers(child, f"{url}/v2/", statuses=frozenset({200}))
        yield Behind(url, environment)
    finally:
        child.stop()


class HashesDropped(BucketOrigin):
    """CloudFront passes neither header with the digest on to S3."""

    def headers(self, request: EdgeRequest, url: str) -> dict[str, str]:
        """Sign what is left."""
        kept = tuple(pair for pair in request.headers if "sha256" not in pair[0])
        return super().headers(replace(request, headers=kept), url)


class ClientsRequestShown(Edge):
    """CloudFront shows viewer-response what the client asked, and not what the function made."""

    def shown(self, made: Mapping[str, Any], seen: EdgeRequest) -> Mapping[str, Any]:
        """Return the client's own request."""
        del made
        found: Mapping[str, Any] = request_event(seen, "192.0.2.1")["request"]
        return found


class AnswersUnchanged(EdgeFunction):
    """CloudFront lets a function not turn 200 into 303, or calls none on a PUT's answer."""

    def __call__(self, event: Mapping[str, Any]) -> EdgeOutcome:
        """Run it on requests alone."""
        if "response" in event:
            return EdgeOutcome(dict(event["response"]), None)
        return super().__call__(event)


class NoFunction(EdgeFunction):
    """The behaviour has no function, or another one."""

    def __call__(self, event: Mapping[str, Any]) -> EdgeOutcome:
        """Change nothing."""
        return EdgeOutcome(dict(event.get("response", event["request"])), None)


class OtherMacs(EdgeFunction):
    """The runtime computes another MAC from a key of bytes, as from one of text."""

    def __init__(self, code: str, *more: Any) -> None:  # noqa: ANN401 - as the function has it
        """Take keys for text."""
        changed = code.replace("createHmac('sha256', key)", "createHmac('sha256', `${key}`)")
        assert changed != code
        super().__init__(changed, *more)


class LengthsDropped(Edge):
    """CloudFront passes no Content-Length of a HEAD on."""

    async def _pass_on(
        self,
        request: web.BaseRequest,
        status: int,
        headers: tuple[tuple[str, str], ...],
        got: ClientResponse,
    ) -> web.StreamResponse:
        kept = tuple((n, v) for n, v in headers if request.method != "HEAD" or "length" not in n)
        return await super()._pass_on(request, status, kept, got)


class GivesUp(Edge):
    """CloudFront gives up a PUT above some size, with an answer of its own."""

    status = 504

    async def _serve(
        self, request: web.BaseRequest, seen: EdgeRequest
    ) -> web.StreamResponse | EdgeAnswer:
        if seen.method == "PUT" and int(seen.header("content-length") or 0) > _GIVEN_UP:
            return EdgeAnswer(self.status, (("content-type", "text/html"),), b"<html>ERROR</html>")
        return await super()._serve(request, seen)


class TakesLess(GivesUp):
    """It takes no body of that size."""

    status = 413


@dataclass(frozen=True)
class Played:
    """An edge's URL, and a repository that nobody has used."""

    url: str
    repository: str = field(default_factory=lambda: f"team/{uuid.uuid4().hex}")

    def push(self, data: bytes = DATA) -> tuple[int, bytes]:
        """Push bytes under DATA's digest as clients do; return the last status and body."""
        status, headers, _ = request(self.url, "POST", f"/v2/{self.repository}/blobs/uploads/", b"")
        assert status == 202
        target = with_digest(headers["Location"], DIGEST)
        status, headers, body = request(self.url, "PUT", target, data)
        while status in {303, 307}:
            status, headers, body = request(self.url, "GET", headers["Location"])
        return status, body

    def pull(self) -> bytes | None:
        """Pull DATA's digest as clients do; None where it is missing."""
        path = f"/v2/{self.repository}/blobs/{DIGEST}"
        status, headers, body = request(self.url, "GET", path)
        if status == 307:
            status, _, body = request(self.url, "GET", headers["Location"])
        return body if status == 200 else None

    def examine(self, check: str = "edge-put", size: int = 1) -> CheckResult:
        """Return what doctor finds about large PUTs, or by another check."""
        visit = Visit(Wire(registry_url(self.url)), self.repository, edge_size=size)
        results = doctor.examine(visit, frozenset({check}))
        return next(each for each in results if each.check.name == check)


@contextlib.contextmanager
def played(
    behind: Behind,
    *,
    kind: type[Edge] = Edge,
    function: type[EdgeFunction] = EdgeFunction,
    bucket: Origin | None = None,
) -> Iterator[Played]:
    """Run an edge that differs in one thing until the block ends."""
    store = LocalStore(ticket_keys(behind.environment))
    origins: dict[str, Origin] = {
        "api": ApiOrigin(behind.gateway),
        "bucket": bucket or BucketOrigin.at(behind.environment),
    }
    running = function(CODE, store.get, DISTRIBUTION.origins)
    with run_server(kind(EdgeOptions(port=0), DISTRIBUTION, running, origins)) as url:
        yield Played(url)


@contextlib.contextmanager
def refusing(status: int, body: bytes) -> Iterator[BucketOrigin]:
    """Give a bucket that refuses everything so."""

    def refuse(asked: FakeRequest) -> None:
        asked.body()
        asked.answer(status, body, Content_Type="application/xml")

    environment = {
        "AWS_ENDPOINT_URL": "",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "MOORAGE_BUCKET": "b",
    }
    with run_fake(refuse) as url:
        yield BucketOrigin.at({**environment, "AWS_ENDPOINT_URL": url})


def test_without_a_difference_push_pull_and_doctor_succeed(behind: Behind) -> None:
    """Push, pull, and a doctor that is content with both."""
    with played(behind) as edge:
        assert edge.push(DATA[::-1])[0] == 400
        assert edge.pull() is None
        assert edge.push()[0] == 201
        assert edge.pull() == DATA
        visit = Visit(Wire(registry_url(edge.url)), "doctor/whole", edge_size=12_000_001)
        results = doctor.examine(visit, frozenset({"edge-get"}))
        found = {each.check.name: each.finding for each in results}
        assert found["edge-put"].status is found["edge-get"].status is Status.OK, found
        assert visit.facts["edge_long_put"]["bytes"] == 12_000_001


def test_without_hashes_at_s3_the_commit_compares(behind: Behind) -> None:
    """Wrong bytes are taken, and refused at the commit; the right ones are published."""
    with played(behind, bucket=HashesDropped.at(behind.environment)) as edge:
        assert edge.push(DATA[::-1])[0] == 400
        assert edge.push()[0] == 201
        assert edge.pull() == DATA
        found = edge.examine()
    assert found.finding.status is Status.WARN
    assert "a copy" in found.todo


def test_a_function_that_sees_the_clients_request_sends_it_on(behind: Behind) -> None:
    """The commit's address is in the client's own path as well."""
    with played(behind, kind=ClientsRequestShown) as edge:
        assert edge.push()[0] == 201
        assert edge.pull() == DATA
        assert edge.examine().finding.status is Status.OK


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (403, _DENIED, "origin access control"),
        (403, _MISMATCH, "the two headers with the digest"),
        (400, b"<Error><Code>XAmzContentSHA256Mismatch</Code></Error>", "the two headers"),
    ],
    ids=["unsigned", "mismatch", "hash"],
)
def test_a_bucket_that_refuses_the_edge_says_what_to_set(
    behind: Behind, status: int, body: bytes, says: str
) -> None:
    """The client hears S3's refusal, and nothing is published."""
    with refusing(status, body) as bucket, played(behind, bucket=bucket) as edge:
        assert edge.push(DATA)[0] == status
        found = edge.examine()
    assert found.finding.status is Status.FAIL
    assert says in found.todo
    assert "--edge no" in found.todo


@pytest.mark.parametrize(
    ("function", "status", "says"),
    [(AnswersUnchanged, 200, "turn 200 into 303"), (NoFunction, 413, "has the function")],
)
def test_an_answer_that_the_function_can_not_change_says_what_to_set(
    behind: Behind, function: type[EdgeFunction], status: int, says: str
) -> None:
    """No client takes 200 for 201, and nothing is published until a commit."""
    with played(behind, function=function) as edge:
        assert edge.push()[0] == status
        found = edge.examine()
    assert found.finding.status is Status.FAIL
    assert says in found.todo
    assert "--edge no" in found.todo


@pytest.mark.parametrize("kind", [GivesUp, TakesLess])
def test_an_edge_that_gives_up_a_long_put_says_what_to_set(
    behind: Behind, kind: type[GivesUp]
) -> None:
    """The client hears its answer, and nothing is published; smaller layers go on."""
    with played(behind, kind=kind) as edge:
        large = DATA * 2
        digest = f"sha256:{hashlib.sha256(large).hexdigest()}"
        opened = request(edge.url, "POST", f"/v2/{edge.repository}/blobs/uploads/", b"")
        target = with_digest(opened[1]["Location"], digest)
        assert request(edge.url, "PUT", target, large)[0] == kind.status
        assert request(edge.url, "GET", f"/v2/{edge.repository}/blobs/{digest}")[0] == 404
        assert edge.push()[0] == 201
        found = edge.examine(size=8_000_000)
    assert found.finding.status is Status.FAIL
    assert "OriginReadTimeout" in found.todo
    assert "--edge no" in found.todo


def test_an_edge_that_computes_other_macs_says_what_to_set(behind: Behind) -> None:
    """No ticket is good to it: large PUTs are 404, and nothing is stored."""
    with played(behind, function=OtherMacs) as edge:
        assert edge.push()[0] == 404
        assert edge.pull() is None
        found = edge.examine()
    assert found.finding.status is Status.FAIL
    assert "moorage key rotate" in found.todo
    assert "--edge no" in found.todo


def test_an_edge_that_drops_the_length_of_a_head_is_found(behind: Behind) -> None:
    """Clients would write 0 into manifests; a GET has all bytes."""
    with played(behind, kind=LengthsDropped) as edge:
        assert edge.push()[0] == 201
        assert edge.pull() == DATA
        found = edge.examine("edge-get")
    assert found.finding.status is Status.FAIL
    assert "HEAD there says None bytes" in found.finding.seen
