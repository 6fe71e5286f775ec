"""What the gateway makes of a function's return value."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from moorage.gateway.faults import GatewayError, GatewayFault, GatewayResponse
from moorage.gateway.response import MAX_ANSWER_BYTES, HeadMode, read_answer, to_http


def returned(**fields: object) -> dict[str, Any]:
    """Give a well-formed return value with these fields."""
    return {"statusCode": 200, **fields}


@pytest.mark.parametrize(
    "name",
    [
        "WWW-Authenticate",
        "Date",
        "Server",
        "Connection",
        "Authorization",
        "User-Agent",
        "Content-MD5",
        "Max-Forwards",
        "Content-Length",
        "www-authenticate",
    ],
)
def test_headers_that_aws_renames_are_renamed(name: str) -> None:
    """They become x-amzn-Remapped-*, from either map."""
    expected = (("x-amzn-Remapped-" + name, "7"),)
    assert read_answer(returned(headers={name: "7"})).headers == expected
    assert read_answer(returned(multiValueHeaders={name: ["7"]})).headers == expected


@pytest.mark.parametrize(
    "name",
    ["Transfer-Encoding", "Trailer", "Upgrade", "Host", "TE", "Expect", "proxy-authenticate"],
)
def test_headers_that_aws_drops_are_dropped(name: str) -> None:
    """The others beside them stay."""
    answer = read_answer(returned(headers={name: "x", "Location": "/a"}))
    assert answer.headers == (("Location", "/a"),)


def test_the_two_header_maps_are_merged() -> None:
    """A pair given in both maps is sent once, other values of the name are sent as well."""
    answer = read_answer(
        returned(
            headers={"link": "<a>", "Range": "0-9", "X-Number": 3, "X-Flag": True},
            multiValueHeaders={"Link": ["<a>", "<b>"], "Range": ["0-1"]},
        )
    )
    assert answer.headers == (
        ("Link", "<a>"),
        ("Link", "<b>"),
        ("Range", "0-1"),
        ("Range", "0-9"),
        ("X-Number", "3"),
        ("X-Flag", "true"),
    )


@pytest.mark.parametrize(
    ("body", "is_base64", "expected"),
    [
        ("é", False, "é".encode()),
        (base64.b64encode(b"\x00\xff").decode(), True, b"\x00\xff"),
        ("", True, b""),
        (None, False, b""),
    ],
)
def test_a_body_is_text_or_base64(body: str | None, is_base64: bool, expected: bytes) -> None:  # noqa: FBT001 - a column of the table above
    """Text is sent as UTF-8, base64 as its bytes."""
    assert read_answer(returned(body=body, isBase64Encoded=is_base64)).body == expected


@pytest.mark.parametrize(
    "value",
    [
        None,
        "ok",
        [],
        {},
        {"statusCode": "200"},
        {"statusCode": True},
        {"statusCode": 100},
        {"statusCode": 600},
        returned(cookies=[]),
        returned(body=b"bytes"),
        returned(body={"a": 1}),
        returned(body="\ud800"),
        returned(body="***", isBase64Encoded=True),
        returned(body="abc", isBase64Encoded=True),
        returned(isBase64Encoded="true"),
        returned(headers=[]),
        returned(headers={"A": None}),
        returned(headers={"A": ["1"]}),
        returned(headers={"A": "1\r\nB: 2"}),
        returned(headers={"A:": "1"}),
        returned(headers={"": "1"}),
        returned(headers={1: "1"}),
        returned(headers={"A": "\ud800"}),
        returned(multiValueHeaders={"A": "1"}),
        returned(multiValueHeaders={"A": [None]}),
    ],
    ids=repr,
)
def test_a_malformed_return_value_is_502(value: object) -> None:
    """What is no proxy response is the function's failure, with the reason for the log."""
    with pytest.raises(GatewayError) as caught:
        read_answer(value)
    assert caught.value.fault is GatewayFault.FUNCTION_FAILED
    assert "malformed Lambda proxy response" in caught.value.detail


@pytest.mark.parametrize("is_base64", [True, False])
def test_an_answer_of_more_than_6_mib_of_json_is_502(is_base64: bool) -> None:  # noqa: FBT001 - a column of the table above
    """The limit is on the JSON that Lambda returns, so base64 counts as it stands."""
    frame = len('{"statusCode": 200, "isBase64Encoded": true, "body": ""}') + (not is_base64)
    room = MAX_ANSWER_BYTES - frame
    read_answer(returned(isBase64Encoded=is_base64, body="A" * (room // 4 * 4)))
    with pytest.raises(GatewayError) as caught:
        read_answer(returned(isBase64Encoded=is_base64, body="A" * (room // 4 * 4 + 4)))
    assert caught.value.fault is GatewayFault.FUNCTION_FAILED
    assert "bytes of JSON" in caught.value.detail


def test_escaped_characters_count_as_escaped() -> None:
    """A text of half the limit, all quotes, is over it."""
    with pytest.raises(GatewayError):
        read_answer(returned(body='"' * (MAX_ANSWER_BYTES // 2)))


@pytest.mark.parametrize("status", [204, 304])
def test_a_204_or_304_has_neither_body_nor_length(status: int) -> None:
    """The function's body is not sent."""
    response = to_http(GatewayResponse(status, (), b"12345"), "GET", HeadMode.BODY, "id")
    assert response.body in (b"", None)
    assert "Content-Length" not in response.headers


def test_the_gateway_adds_its_own_headers() -> None:
    """Request ids always; a Content-Type only where the function set none."""
    bare = to_http(GatewayResponse(200, (), b"{}"), "GET", HeadMode.BODY, "an-id")
    assert bare.headers["Content-Type"] == "application/json"
    assert bare.headers["x-amzn-RequestId"] == "an-id"
    assert bare.headers["x-amz-apigw-id"]
    answer = GatewayResponse(200, (("content-type", "a/b"),), b"{}")
    typed = to_http(answer, "GET", HeadMode.BODY, "id")
    assert typed.headers.getall("Content-Type") == ["a/b"]
