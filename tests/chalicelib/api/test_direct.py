"""Direct uploads over the API: how a blob gets in, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.limits import PUT_MAXIMUM
from tests.chalicelib.api.pushing import code
from tests.support.calls import record_calls
from tests.support.presigned_puts import send

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest

NAME = "team/app"
DATA = bytes(range(250)) * 4
DIGEST = Digest.of(DATA)


def told(response: Response, status: int) -> dict[str, Any]:
    """Return what an answer with this status says."""
    assert response.status == status, response.body
    document: dict[str, Any] = json.loads(response.body)
    return document


def start(registry: RegistryUnderTest, data: bytes = DATA, name: str = NAME) -> dict[str, Any]:
    """Open a direct upload of these bytes; returns what is told, with its Location."""
    target = f"{name}/_moorage/uploads/?digest={Digest.of(data)}&size={len(data)}"
    response = registry.ask("POST", target)
    return {**told(response, 201), "at": str(response.headers["Location"])}


def put(opened: dict[str, Any], data: bytes = DATA, **headers: str | None) -> tuple[int, str]:
    """Put bytes to the URL; `headers` beside those it asks for (`_` is `-`), or None."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(opened["put"]["url"], {**opened["put"]["headers"], **changed}, data)


@pytest.mark.parametrize("data", [DATA, b""])
def test_a_direct_upload_is_published_without_a_copy(
    registry: RegistryUnderTest, data: bytes
) -> None:
    """POST, PUT to the URL, PUT to the Location: two requests to S3, three to DynamoDB."""
    with record_calls(registry.s3, registry.dynamodb) as calls:
        opened = start(registry, data)
        assert put(opened, data) == (200, "")
        committed = registry.ask("PUT", opened["at"])
    assert committed.status == 201
    assert committed.headers["Location"] == f"/v2/{NAME}/blobs/{Digest.of(data)}"
    assert committed.headers["Docker-Content-Digest"] == str(Digest.of(data))
    # The registry signs a PutObject, and the client sends it.
    assert dict(calls.operations("s3")) == {"PutObject": 1, "HeadObject": 1}
    assert dict(calls.operations("dynamodb")) == {
        "PutItem": 1,
        "GetItem": 1,
        "TransactWriteItems": 1,
    }
    assert registry.stored() == [f"direct/{opened['session']}/{Digest.of(data).hex}"]
    assert registry.ask("GET", f"{NAME}/blobs/{Digest.of(data)}").body == data
    # A repeat is answered alike, and a status has no URL any more.
    assert registry.ask("PUT", opened["at"]).status == 201
    after = told(registry.ask("GET", opened["at"]), 200)
    assert (after["state"], after.get("put")) == ("committed", None)
    assert put(opened, data) == (412, "PreconditionFailed")
    assert registry.ask("DELETE", opened["at"]).status == 404


def test_a_session_has_digest_size_and_a_fresh_url(registry: RegistryUnderTest) -> None:
    """The answer has digest, size, URL, headers and expiry; a GET has a new URL."""
    opened = start(registry)
    assert (opened["digest"], opened["size"], opened["state"]) == (str(DIGEST), 1000, "direct")
    assert opened["at"] == f"/v2/{NAME}/_moorage/uploads/{opened['session']}"
    assert opened["put"]["expires_in"] == 900
    assert set(opened["put"]["headers"]) == {
        "Content-Length",
        "Content-Type",
        "If-None-Match",
        "x-amz-checksum-sha256",
    }
    again = told(registry.ask("GET", opened["at"]), 200)
    assert put(again) == (200, "")
    assert registry.ask("PUT", opened["at"]).status == 201


@pytest.mark.parametrize(
    ("query", "status", "expected"),
    [
        (f"digest={Digest.of(DATA, Algorithm.SHA512)}&size=1", 400, "DIGEST_INVALID"),
        ("digest=sha256:abc&size=1", 400, "DIGEST_INVALID"),
        ("size=1", 400, "DIGEST_INVALID"),
        (f"digest={DIGEST}", 400, "REQUEST_INVALID"),
        (f"digest={DIGEST}&size=-1", 400, "REQUEST_INVALID"),
        (f"digest={DIGEST}&size=1e3", 400, "REQUEST_INVALID"),
        (f"digest={DIGEST}&size={'9' * 5000}", 400, "REQUEST_INVALID"),
        (f"digest={DIGEST}&size={PUT_MAXIMUM + 1}", 413, "SIZE_INVALID"),
    ],
)
def test_a_blob_that_one_put_can_not_bring_is_refused(
    shared: RegistryUnderTest, query: str, status: int, expected: str
) -> None:
    """Another algorithm, no size, too many bytes: the answer says what to do instead."""
    response = shared.ask("POST", f"{NAME}/_moorage/uploads/?{query}")
    assert (response.status, code(response)) == (status, expected)
    if status == 413 or "sha512" in query:
        assert b"push in parts, or in chunks" in response.body


def test_a_put_of_5_gib_gets_a_url(shared: RegistryUnderTest) -> None:
    """That is the largest PUT of S3."""
    target = f"{NAME}/_moorage/uploads/?digest={DIGEST}&size={PUT_MAXIMUM}"
    assert told(shared.ask("POST", target), 201)["size"] == PUT_MAXIMUM


def test_other_bytes_are_refused_and_the_right_ones_may_follow(shared: RegistryUnderTest) -> None:
    """S3 keeps nothing of bytes with another SHA-256, so that the session goes on."""
    opened = start(shared)
    assert put(opened, DATA[::-1]) == (400, "BadDigest")
    early = shared.ask("PUT", opened["at"])
    assert (early.status, code(early)) == (400, "BLOB_UPLOAD_INVALID")
    assert b"PUT them to the URL first" in early.body
    assert put(opened) == (200, "")
    assert shared.ask("PUT", opened["at"]).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Encoding": "gzip"},
        {"Cache_Control": "no-store"},
        {"Content_Disposition": "inline"},
        {"Content_Language": "de"},
        {"Expires": "Thu, 01 Dec 2033 16:00:00 GMT"},
    ],
)
def test_a_put_with_headers_for_downloads_is_refused(
    registry: RegistryUnderTest, headers: dict[str, str]
) -> None:
    """Otherwise the first push would choose headers such as Content-Encoding for all."""
    opened = start(registry)
    assert put(opened, DATA, **headers)[0] == 200
    refused = registry.ask("PUT", opened["at"])
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")
    assert next(iter(headers)).replace("_", "").encode() in refused.body
    assert put(opened) == (412, "PreconditionFailed")
    assert registry.ask("DELETE", opened["at"]).status == 204
    assert registry.stored() == []


def test_a_digest_alone_gives_no_blob(registry: RegistryUnderTest) -> None:
    """A blob that is live elsewhere is committed only with bytes, which are then deleted."""
    target = f"team/other/blobs/uploads?digest={DIGEST}"
    assert registry.ask("POST", target, DATA).status == 201
    (live,) = registry.stored()
    opened = start(registry)
    assert registry.ask("PUT", opened["at"]).status == 400
    assert registry.ask("GET", f"{NAME}/blobs/{DIGEST}").status == 404
    assert put(opened) == (200, "")
    assert registry.ask("PUT", opened["at"]).status == 201
    assert registry.ask("GET", f"{NAME}/blobs/{DIGEST}").body == DATA
    assert registry.stored() == [live]


def test_direct_and_other_sessions_are_unknown_to_each_others_endpoints(
    shared: RegistryUnderTest,
) -> None:
    """Otherwise bytes could come that nobody compares."""
    direct = start(shared)["session"]
    plain = str(shared.ask("POST", f"{NAME}/blobs/uploads").headers["Docker-Upload-UUID"])
    asked = [
        *((method, f"{NAME}/_moorage/uploads/{plain}") for method in ("GET", "PUT", "DELETE")),
        *((method, f"{NAME}/blobs/uploads/{direct}?at=0") for method in ("GET", "PATCH", "DELETE")),
        ("PUT", f"{NAME}/blobs/uploads/{direct}?at=0&digest={DIGEST}"),
        ("GET", f"team/other/_moorage/uploads/{direct}"),
    ]
    for method, target in asked:
        body = DATA if method in {"PATCH", "PUT"} and "blobs" in target else b""
        response = shared.ask(method, target, body)
        assert (response.status, code(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_blob_that_was_deleted_after_the_commit_is_unknown(registry: RegistryUnderTest) -> None:
    """To whoever asks for the session, or commits again: the client is to push it anew."""
    opened = start(registry)
    assert put(opened) == (200, "")
    assert registry.ask("PUT", opened["at"]).status == 201
    assert told(registry.ask("GET", opened["at"]), 200)["state"] == "committed"
    assert registry.ask("DELETE", f"{NAME}/blobs/{DIGEST}").status == 202
    for method in ("GET", "PUT"):
        answer = registry.ask(method, opened["at"])
        assert (answer.status, code(answer)) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_a_cancelled_upload_is_gone_and_so_are_its_bytes(registry: RegistryUnderTest) -> None:
    """Its session is unknown, whatever is asked, and what was put is deleted."""
    opened = start(registry)
    assert put(opened) == (200, "")
    assert registry.ask("DELETE", opened["at"]).status == 204
    assert {registry.ask(method, opened["at"]).status for method in ("GET", "PUT")} == {404}
    assert registry.stored() == []


def test_the_extension_is_discovered(shared: RegistryUnderTest) -> None:
    """Clients find its name and endpoints where the OCI's convention has them."""
    found = told(shared.ask("GET", "_oci/ext/discover"), 200)["extensions"]
    assert {each["name"] for each in found} == {"_oci", "_moorage"}
    assert all(each["url"] and each["description"] and each["endpoints"] for each in found)
