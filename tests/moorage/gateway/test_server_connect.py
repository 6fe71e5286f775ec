"""CONNECT at the gateway: it asks for a tunnel, which there is not."""

from __future__ import annotations

from tests.support.servers import Recorder, exchange, run_gateway

TUNNELLED = b"GET /v2/secret HTTP/1.1\r\nHost: h\r\n\r\n"


def test_what_follows_a_connect_is_no_request() -> None:
    """It is refused and the connection closed: its bytes never reach the function as a request."""
    recorder = Recorder()
    head = b"CONNECT /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % len(TUNNELLED)
    with run_gateway(recorder) as url:
        told = exchange(url, head + TUNNELLED)
    assert told.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert told.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in told
    assert recorder.events == []
