"""What a Lambda function is handed: paths, parameters, headers, the caller, sizes."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from moorage.gateway.event import MAX_EVENT_BYTES, GatewayRequest, build_event, method_arn
from moorage.gateway.faults import GatewayError, GatewayFault
from moorage.gateway.resources import Resources

INCOMING = GatewayRequest(
    method="PATCH",
    path="/v2/a/b/",
    query="",
    headers=(("Host", "registry.example:8000"), ("User-Agent", "docker/27")),
    source_ip="192.0.2.7",
    port=8000,
    received_at=1_700_000_000.25,
)


ANY = ("GET", "PATCH", "POST")
RESOURCES = Resources({"/": ANY, "/{proxy+}": ANY, "/_token": ANY})


def event_of(incoming: GatewayRequest, body: bytes = b"") -> dict[str, Any]:
    """Route a request and build its event."""
    return build_event(incoming, RESOURCES.match(incoming.method, incoming.path), body)


@pytest.mark.parametrize(
    ("path", "resource", "parameters"),
    [
        ("/v2/a/b/", "/{proxy+}", {"proxy": "a/b"}),
        ("/v2/", "/", None),
        ("/v2/_token/", "/_token", None),
    ],
)
def test_the_event_has_the_paths(
    path: str, resource: str, parameters: dict[str, str] | None
) -> None:
    """`path` is without the stage and keeps its slash, `requestContext.path` is whole."""
    event = event_of(replace(INCOMING, path=path))
    context = event["requestContext"]
    assert (event["resource"], context["resourcePath"]) == (resource, resource)
    assert (event["path"], context["path"]) == (path.removeprefix("/v2"), path)
    assert event["pathParameters"] == parameters


def test_the_event_has_the_context_and_null_for_what_was_not_sent() -> None:
    """There are no stage variables, and here no query."""
    event = event_of(INCOMING)
    context = event["requestContext"]
    assert event["httpMethod"] == "PATCH"
    assert event["stageVariables"] is None
    assert event["queryStringParameters"] is None
    assert event["multiValueQueryStringParameters"] is None
    assert context["stage"] == "v2"
    assert context["requestId"] == INCOMING.request_id
    assert context["httpMethod"] == "PATCH"
    assert context["domainName"] == "registry.example:8000"
    assert context["identity"]["sourceIp"] == "192.0.2.7"
    assert context["identity"]["userAgent"] == "docker/27"
    assert context["requestTimeEpoch"] == 1_700_000_000_250
    assert context["requestTime"] == "14/Nov/2023:22:13:20 +0000"
    assert {"accountId", "apiId", "protocol", "extendedRequestId"} <= context.keys()


@pytest.mark.parametrize(
    ("path", "arn"), [("/v2/", "PATCH/"), ("/v2", "PATCH/"), ("/v2/a/b%2Fc/", "PATCH/a/b%2Fc/")]
)
def test_the_arn_has_stage_method_and_raw_path(path: str, arn: str) -> None:
    """Below the API's own."""
    incoming = replace(INCOMING, path=path)
    route = RESOURCES.match("PATCH", path)
    base = "arn:aws:execute-api:us-east-1:000000000000:local/v2/"
    assert method_arn(incoming, route) == base + arn


def test_query_parameters_are_decoded() -> None:
    """Names and values are decoded, the last value wins, an empty value stays."""
    event = event_of(replace(INCOMING, query="tag=a&tag=b%2Bc+d&digest=sha256%3Aab&n="))
    assert event["queryStringParameters"] == {"tag": "b+c d", "digest": "sha256:ab", "n": ""}
    assert event["multiValueQueryStringParameters"] == {
        "tag": ["a", "b+c d"],
        "digest": ["sha256:ab"],
        "n": [""],
    }


def test_the_last_value_of_a_repeated_header_wins() -> None:
    """`headers` has the last value, `multiValueHeaders` all, whatever the case of the name."""
    headers = (("Accept", "a/a"), ("accept", "b/b"), ("Range", "0-1"))
    event = event_of(replace(INCOMING, headers=headers))
    assert event["headers"]["Accept"] == "b/b"
    assert event["multiValueHeaders"]["Accept"] == ["a/a", "b/b"]
    assert event["multiValueHeaders"]["Range"] == ["0-1"]
    assert "accept" not in event["headers"]


@pytest.mark.parametrize(
    "name", ["Transfer-Encoding", "Expect", "TE", "Connection", "Content-Length", "Upgrade"]
)
def test_hop_by_hop_headers_do_not_reach_a_function(name: str) -> None:
    """API Gateway ends the connection."""
    event = event_of(replace(INCOMING, headers=((name, "x"), ("Host", "h"))))
    assert name not in event["headers"]
    assert name not in event["multiValueHeaders"]
    assert event["headers"]["Host"] == "h"


def test_forwarding_headers_are_the_gateways_own() -> None:
    """X-Forwarded-For is appended to; Port and Proto are replaced."""
    sent = (
        ("X-Forwarded-For", "198.51.100.1"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Port", "70"),
    )
    event = event_of(replace(INCOMING, headers=sent))
    assert event["headers"]["X-Forwarded-For"] == "198.51.100.1, 192.0.2.7"
    assert event["multiValueHeaders"]["X-Forwarded-Proto"] == ["http"]
    assert event["multiValueHeaders"]["X-Forwarded-Port"] == ["8000"]
    assert event["headers"]["X-Amzn-Trace-Id"].startswith("Root=1-6553f100-")


def test_every_body_is_base64_and_an_empty_one_is_null() -> None:
    """With binaryMediaTypes */* even text is base64."""
    event = event_of(INCOMING, b'{"a":1}')
    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b'{"a":1}'
    empty = event_of(INCOMING, b"")
    assert (empty["isBase64Encoded"], empty["body"]) == (False, None)


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_an_event_is_json_of_at_most_6_mib(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event of exactly the limit passes, with its padding, and one of a byte more is refused."""
    assert MAX_EVENT_BYTES == 6 * 1024 * 1024
    body = b"\xff" * length
    size = len(json.dumps(event_of(INCOMING, body), separators=(",", ":")))
    monkeypatch.setattr("moorage.gateway.event.MAX_EVENT_BYTES", size)
    assert event_of(INCOMING, body)["body"]
    monkeypatch.setattr("moorage.gateway.event.MAX_EVENT_BYTES", size - 1)
    with pytest.raises(GatewayError) as caught:
        event_of(INCOMING, body)
    assert caught.value.fault is GatewayFault.EVENT_TOO_LARGE
