"""Functions behind the gateway: context, deadline, how many run at once, the queue."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from moorage.common.http_server import BoundedServer
from moorage.gateway.faults import read_answers
from moorage.gateway.rest_api import RestApi
from moorage.gateway.server import GatewayOptions
from tests.support.servers import connect, request, run_gateway
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest


def test_a_function_that_runs_too_long_is_504() -> None:
    """The answer comes when the timeout ends, and other requests are still served."""
    release = threading.Event()

    def function(event: dict[str, Any], _: object) -> object:
        if event["path"] == "/slow":
            release.wait(60)
        return {"statusCode": 200}

    with run_gateway(function, GatewayOptions(port=0, timeout_seconds=0.5)) as url:
        began = time.monotonic()
        status, _, body = request(url, "GET", "/v2/slow")
        took = time.monotonic() - began
        assert (status, body) == (504, b'{"message":"Endpoint request timed out"}')
        assert 0.5 <= took < 30
        assert request(url, "GET", "/v2/quick")[0] == 200
        release.set()


def test_the_context_has_lambdas_attributes() -> None:
    """And a deadline that comes nearer."""
    seen: list[Any] = []

    def function(event: dict[str, Any], context: Any) -> object:  # noqa: ANN401 - Lambda's context has no type
        first = context.get_remaining_time_in_millis()
        time.sleep(0.02)
        seen.extend([event, context, first, context.get_remaining_time_in_millis()])
        return {"statusCode": 200}

    with run_gateway(function, GatewayOptions(port=0, timeout_seconds=70)) as url:
        _, headers, _ = request(url, "GET", "/v2/")
    event, context, first, later = seen
    assert 60_000 < later < first <= 70_000
    assert isinstance(first, int)
    assert context.aws_request_id == event["requestContext"]["requestId"]
    assert headers["x-amzn-RequestId"] == context.aws_request_id
    assert context.invoked_function_arn.endswith(":function:" + context.function_name)
    assert int(context.memory_limit_in_mb) > 0
    assert context.function_version == "$LATEST"
    assert context.log_group_name.startswith("/aws/lambda/")
    assert context.log_stream_name


def test_eight_functions_run_at_once_and_the_ninth_queues() -> None:
    """A ninth call starts only when one of the eight has ended."""
    barrier = threading.Barrier(9)
    lock = threading.Lock()
    running, peak, total = 0, 0, 0

    def function(_: dict[str, Any], __: object) -> object:
        nonlocal running, peak, total
        with lock:
            running += 1
            total += 1
            peak = max(peak, running)
            waits = total <= 8
        if waits:
            barrier.wait(60)
        with lock:
            running -= 1
        return {"statusCode": 200}

    with run_gateway(function) as url, ThreadPoolExecutor(12) as clients:
        answers = [clients.submit(request, url, "GET", "/v2/") for _ in range(12)]
        until(lambda: total >= 8, "eight calls run")
        time.sleep(0.2)
        assert total == 8
        barrier.wait(60)
        assert [answer.result(20)[0] for answer in answers] == [200] * 12
    assert (peak, total) == (8, 12)


def test_without_a_queue_a_busy_function_is_a_throttled_one() -> None:
    """The second call is refused at once, and told when to come back; the first one goes on."""
    inside, release = threading.Event(), threading.Event()

    def function(_: dict[str, Any], __: object) -> object:
        inside.set()
        release.wait(60)
        return {"statusCode": 200}

    options = GatewayOptions(port=0, threads=1, queue=False)
    api = RestApi(answers=read_answers("https://registry.example"))
    with run_gateway(function, options, api) as url, ThreadPoolExecutor(1) as clients:
        first = clients.submit(request, url, "GET", "/v2/")
        assert inside.wait(10)
        status, headers, body = request(url, "GET", "/v2/")
        assert (status, headers["Retry-After"]) == (503, "2")
        assert b'"code":"UNAVAILABLE"' in body
        release.set()
        assert first.result(20)[0] == 200
        assert request(url, "GET", "/v2/")[0] == 200


def test_a_queued_request_has_its_whole_deadline() -> None:
    """The timeout counts from the call's start: to wait for a slot costs no time."""

    def function(_: dict[str, Any], __: object) -> object:
        time.sleep(0.3)
        return {"statusCode": 200}

    options = GatewayOptions(port=0, threads=1, timeout_seconds=1.2)
    with run_gateway(function, options) as url, ThreadPoolExecutor(5) as clients:
        answers = [clients.submit(request, url, "GET", "/v2/") for _ in range(5)]
        assert [answer.result(20)[0] for answer in answers] == [200] * 5


def test_a_queued_request_is_served_though_its_client_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """API Gateway calls Lambda at once, and nothing takes a call back."""
    left: list[object] = []
    see = BoundedServer.connection_lost

    def seen(*given: Any) -> None:  # noqa: ANN401 - as aiohttp calls it
        see(*given)
        left.append(given)

    monkeypatch.setattr(BoundedServer, "connection_lost", seen)
    inside, release, both = threading.Event(), threading.Event(), threading.Event()
    paths: list[str] = []

    def function(event: dict[str, Any], _: object) -> object:
        paths.append(event["path"])
        inside.set()
        release.wait(60)
        if len(paths) == 2:
            both.set()
        return {"statusCode": 200}

    with run_gateway(function, GatewayOptions(port=0, threads=1)) as url:
        with connect(url) as first, connect(url) as second:
            first.sendall(b"PUT /v2/first HTTP/1.1\r\nHost: [::1]\r\n\r\n")
            assert inside.wait(10)
            # Who hears 100 is next in the queue: nothing else is waited for in between.
            second.sendall(
                b"PUT /v2/second HTTP/1.1\r\nHost: [::1]\r\nExpect: 100-continue\r\n\r\n"
            )
            assert second.recv(1000).startswith(b"HTTP/1.1 100")
        until(lambda: len(left) == 2, "the gateway sees that both have left")
        release.set()
        assert both.wait(20)
    assert paths == ["/first", "/second"]
