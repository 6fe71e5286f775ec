"""Direct uploads in parts over the API: how a blob gets in, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.digest import Algorithm, Digest
from chalicelib.limits import MIB, PART_COUNT
from chalicelib.registry.upload.segments import PART_MAXIMUM
from tests.chalicelib.api.pushing import code
from tests.chalicelib.api.test_direct import NAME, told
from tests.support.calls import record_calls
from tests.support.parted import PartedBlob, parted
from tests.support.presigned_puts import send

if TYPE_CHECKING:
    from chalicelib.api.messages import Response
    from tests.support.registries import RegistryUnderTest

BYTES = bytes(range(256)) * (24 * 1024)
"""6 MiB."""
BLOB = parted(BYTES, 5 * MIB)
OCTETS = {"Content-Type": "application/octet-stream"}
"""What a client's HTTP library writes; moto takes other types for forms."""


def open_parts(registry: RegistryUnderTest, query: str = "", name: str = NAME) -> dict[str, Any]:
    """Open a direct upload in parts; returns what is told, with its Location."""
    response = registry.ask("POST", f"{name}/_moorage/uploads/?parts=true{query}")
    return {**told(response, 201), "at": str(response.headers["Location"])}


def put_parts(registry: RegistryUnderTest, opened: dict[str, Any], blob: PartedBlob) -> None:
    """Ask for the URLs of all parts, and put them."""
    asked = registry.ask("POST", f"{opened['at']}/parts", blob.wanted)
    for part in told(asked, 200)["parts"]:
        sent = send(part["url"], part["headers"] | OCTETS, blob.parts[part["number"]])
        assert sent == (200, "")


def commit(
    registry: RegistryUnderTest, opened: dict[str, Any], blob: PartedBlob, body: bytes | None = None
) -> Response:
    """Commit with the blob's report, or another body."""
    report = blob.report if body is None else body
    return registry.ask("PUT", f"{opened['at']}?digest={blob.digest}", report)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_parts_are_published_without_a_copy(
    registry: RegistryUnderTest, algorithm: Algorithm
) -> None:
    """POST, URLs, a PUT for each part, PUT with the report; no leftovers remain."""
    blob = parted(BYTES, 5 * MIB, algorithm=algorithm)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        opened = open_parts(registry, f"&algorithm={algorithm}")
        put_parts(registry, opened, blob)
        committed = commit(registry, opened, blob)
    assert committed.status == 201
    assert committed.headers["Location"] == f"/v2/{NAME}/blobs/{blob.digest}"
    assert committed.headers["Docker-Content-Digest"] == str(blob.digest)
    # The registry signs for the parts, and the client sends them. They are read in one request;
    # the report is put and deleted: who has it from the client does not read it.
    assert dict(calls.operations("s3")) == {
        "CreateMultipartUpload": 1,
        "UploadPart": 2,
        "PutObject": 1,
        "ListParts": 1,
        "CompleteMultipartUpload": 1,
        "GetObject": 1,
        "DeleteObjects": 1,
    }
    assert dict(calls.operations("dynamodb")) == {
        "PutItem": 1,
        "GetItem": 2,
        "UpdateItem": 4,
        "TransactWriteItems": 1,
    }
    assert registry.stored() == [f"direct/{opened['session']}/parts"]
    size = len(BYTES)
    pulled = registry.ports.objects.get(registry.stored()[0], span=(0, size - 1))
    assert Digest.of(pulled, algorithm) == blob.digest
    assert registry.ask("HEAD", f"{NAME}/blobs/{blob.digest}").status == 307
    # A repeat is answered alike, with its report or without.
    assert {commit(registry, opened, blob, body).status for body in (None, b"")} == {201}
    after = told(registry.ask("GET", opened["at"]), 200)
    assert (after["state"], after["digest"], "parts" in after) == (
        "committed",
        str(blob.digest),
        False,
    )
    assert registry.ask("DELETE", opened["at"]).status == 404
    assert registry.ask("POST", f"{opened['at']}/parts", blob.wanted).status == 404


def test_a_session_lists_the_parts_that_s3_has(registry: RegistryUnderTest) -> None:
    """It has the limits of parts, and each part's number and size, so a client can resume."""
    opened = open_parts(registry)
    limits = {"minimum": 5 * MIB, "maximum": 1024 * MIB, "count": 10_000}
    limits |= {"multiple": 64, "batch": 100}
    assert opened["parts"] == {**limits, "stored": []}
    expected = (None, "sha256", "direct")
    assert (opened["digest"], opened["algorithm"], opened["state"]) == expected
    assert opened["at"] == f"/v2/{NAME}/_moorage/uploads/{opened['session']}"
    put_parts(registry, opened, BLOB)
    put_parts(registry, opened, PartedBlob({7: b"x", 1: BLOB.parts[1]}))
    found = told(registry.ask("GET", opened["at"]), 200)
    stored = [(1, 5 * MIB), (2, MIB), (7, 1)]
    assert found["parts"]["stored"] == [{"number": n, "size": size} for n, size in stored]
    assert open_parts(registry, "&algorithm=sha512")["parts"]["multiple"] == 128
    # What the report leaves out is not in the blob.
    assert commit(registry, opened, BLOB).status == 201


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("parts=1", "REQUEST_INVALID"),
        ("parts=", "REQUEST_INVALID"),
        ("parts=true&algorithm=md5", "DIGEST_INVALID"),
    ],
)
def test_a_session_in_parts_with_a_wrong_query_is_refused(
    shared: RegistryUnderTest, query: str, expected: str
) -> None:
    """`parts` must be true, and the algorithm one that the registry has."""
    response = shared.ask("POST", f"{NAME}/_moorage/uploads/?{query}")
    assert (response.status, code(response)) == (400, expected)


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"[]",
        b"{}",
        {"parts": {}},
        {"parts": []},
        {"parts": [1]},
        {"parts": [{"number": 1}]},
        {"parts": [{"number": 1, "size": 64, "state": ""}]},
        {"parts": [{"number": 1, "size": 64}], "more": 1},
        {"parts": [{"number": 0, "size": 64}]},
        {"parts": [{"number": PART_COUNT + 1, "size": 64}]},
        {"parts": [{"number": True, "size": 64}]},
        {"parts": [{"number": "1", "size": 64}]},
        {"parts": [{"number": 1, "size": 0}]},
        {"parts": [{"number": 1, "size": -1}]},
        {"parts": [{"number": 1, "size": 1.5}]},
        {"parts": [{"number": 1, "size": PART_MAXIMUM + 1}]},
        {"parts": [{"number": n, "size": 64} for n in range(1, 102)]},
    ],
)
def test_urls_are_given_for_parts_that_s3_takes(shared: RegistryUnderTest, asked: Any) -> None:  # noqa: ANN401 - any JSON
    """A hundred at once, numbers 1 to 10,000, sizes up to 1 GiB; everything else is 400."""
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    response = shared.ask("POST", f"{open_parts(shared)['at']}/parts", body)
    assert (response.status, code(response)) == (400, "REQUEST_INVALID")


def test_urls_of_the_largest_parts_are_given_a_hundred_at_once(shared: RegistryUnderTest) -> None:
    """The last number, 1 GiB, and no request to S3, which signing makes none; one read."""
    parts = [{"number": n, "size": PART_MAXIMUM} for n in range(PART_COUNT - 99, PART_COUNT + 1)]
    at = open_parts(shared)["at"]
    with record_calls(shared.s3, shared.dynamodb) as calls:
        answered = shared.ask("POST", f"{at}/parts", json.dumps({"parts": parts}).encode())
    given = told(answered, 200)["parts"]
    assert [part["number"] for part in given] == [part["number"] for part in parts]
    assert {part["headers"]["Content-Length"] for part in given} == {str(PART_MAXIMUM)}
    assert {part["expires_in"] for part in given} == {900}
    assert answered.headers["Cache-Control"] == "no-store"
    assert dict(calls.operations("s3")) == {"UploadPart": 100}
    assert dict(calls.operations("dynamodb")) == {"GetItem": 1}


def test_a_report_that_can_not_be_read_changes_nothing(registry: RegistryUnderTest) -> None:
    """After a missing or wrong report, or a wrong digest, the right one may follow."""
    opened = open_parts(registry)
    put_parts(registry, opened, BLOB)
    small = parted(BYTES, MIB).report
    other = Digest.of(BYTES, Algorithm.SHA512)
    for target, body, expected in (
        (f"?digest={BLOB.digest}", b"", "REQUEST_INVALID"),
        (f"?digest={BLOB.digest}", small, "REQUEST_INVALID"),
        (f"?digest={other}", BLOB.report, "DIGEST_INVALID"),
        ("?digest=sha256:abc", BLOB.report, "DIGEST_INVALID"),
        ("", BLOB.report, "DIGEST_INVALID"),
    ):
        response = registry.ask("PUT", opened["at"] + target, body)
        assert (response.status, code(response)) == (400, expected), target
    assert commit(registry, opened, BLOB).status == 201


def test_a_refusal_is_repeated_and_leaves_nothing(
    registry: RegistryUnderTest,
) -> None:
    """Each further commit is 400, any other request 404, and no byte is kept."""
    opened = open_parts(registry)
    put_parts(registry, opened, BLOB)
    wrong = parted(BYTES[::-1], 5 * MIB)
    target = f"{opened['at']}?digest={wrong.digest}"
    for body in (wrong.report, b"", BLOB.report):
        response = registry.ask("PUT", target, body)
        assert (response.status, code(response)) == (400, "DIGEST_INVALID")
        assert b"part 1" in response.body
    assert commit(registry, opened, BLOB).status == 400
    assert {registry.ask(method, opened["at"]).status for method in ("GET", "DELETE")} == {404}
    assert registry.ask("POST", f"{opened['at']}/parts", BLOB.wanted).status == 404
    assert registry.stored() == []
    for digest in (BLOB.digest, wrong.digest):
        assert registry.ask("HEAD", f"{NAME}/blobs/{digest}").status == 404


def test_each_request_of_a_direct_upload_makes_this_many_calls(registry: RegistryUnderTest) -> None:
    """Requests to S3 and to DynamoDB; the commit is counted above, but for its refusal."""

    def cost(method: str, target: str, body: bytes = b"") -> tuple[int, dict[str, int], int]:
        with record_calls(registry.s3, registry.dynamodb) as calls:
            status = registry.ask(method, target, body).status
        signed = len(BLOB.parts) if target.endswith("/parts") else 0
        s3 = {name: n for name, n in calls.operations("s3").items() if n != signed}
        return status, s3, calls.count("dynamodb")

    target = f"{NAME}/_moorage/uploads/?parts=true"
    assert cost("POST", target) == (201, {"CreateMultipartUpload": 1}, 2)
    opened = open_parts(registry)
    assert cost("POST", f"{opened['at']}/parts", BLOB.wanted) == (200, {}, 1)
    put_parts(registry, opened, BLOB)
    assert cost("GET", opened["at"]) == (200, {"ListParts": 1}, 1)
    closing = f"{opened['at']}?digest={BLOB.digest}"
    assert cost("PUT", closing, b"{}") == (400, {}, 1)
    assert commit(registry, opened, BLOB).status == 201
    assert cost("PUT", closing) == (201, {"HeadObject": 1}, 2)
    assert cost("GET", opened["at"]) == (200, {"HeadObject": 1}, 2)
    given_up = open_parts(registry)
    put_parts(registry, given_up, BLOB)
    deleted = {"AbortMultipartUpload": 1, "DeleteObjects": 1}
    assert cost("DELETE", given_up["at"]) == (204, deleted, 2)
    refused = open_parts(registry)
    # The report is that of the commit above, whose bytes this process has read already.
    refusal = {"PutObject": 1, "ListParts": 1, **deleted}
    again = f"{refused['at']}?digest={BLOB.digest}"
    assert cost("PUT", again, BLOB.report) == (400, refusal, 3)
    assert cost("PUT", again) == (400, {}, 1)
