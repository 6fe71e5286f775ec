"""infra/edge.js, as it is deployed: what it sends to the bucket, what it refuses, what it says.

Each attack here is tried at a running edge over MiniStack, too: tests/moorage/edge/test_server.py.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Final

import pytest

from chalicelib.limits import LAMBDA_BODY, PUT_MAXIMUM
from chalicelib.registry.tickets import FixedKeys, Purpose, Tickets
from moorage.edge.runtime import MOST_CODE
from tests.support.edge import (
    CODE,
    KEYS,
    LATER,
    NAME,
    OWNER,
    PAST,
    SESSION,
    TICKETS,
    VIEWER_IP,
    answer,
    ask,
    download,
    function_with,
    store_of,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HEX: Final = "0123456789abcdef" * 4
DIGEST: Final = f"sha256:{HEX}"
LARGE: Final = str(LAMBDA_BODY + 1)
FUNCTION: Final = function_with(store_of())
STRANGERS: Final = Tickets(FixedKeys((b"s" * 32,)))
ALSO_KNOWN: Final = Tickets(FixedKeys((KEYS.keys[1],)))

SMUGGLED: Final = (
    ("x-amz-copy-source", "/other/secret"),
    ("x-amz-acl", "public-read"),
    ("x-amz-grant-read", "uri=everybody"),
    ("x-amz-storage-class", "GLACIER"),
    ("x-amz-tagging", "a=b"),
    ("x-amz-website-redirect-location", "https://elsewhere.example"),
    ("x-amz-server-side-encryption", "aws:kms"),
    ("x-amz-server-side-encryption-customer-key", "k"),
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-object-lock-mode", "COMPLIANCE"),
    ("x-amz-meta-a", "b"),
    ("x-amz-security-token", "t"),
    ("x-amz-date", "20260101T000000Z"),
    ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    ("x-amz-checksum-sha256", "AAAA"),
    ("x-amz-checksum-crc32", "AAAAAA=="),
    ("x-amz-sdk-checksum-algorithm", "CRC32"),
    ("x-amz-trailer", "x-amz-checksum-crc32"),
    ("x-amz-decoded-content-length", "5"),
    ("x-amz-write-offset-bytes", "5"),
    ("x-moorage-mark", "https://elsewhere.example/"),
    ("x-moorage-edge", "127.0.0.1~forged"),
    ("authorization", "AWS4-HMAC-SHA256 Credential=..."),
    ("cache-control", "max-age=1"),
    ("content-disposition", "attachment"),
    ("content-encoding", "gzip"),
    ("content-language", "de"),
    ("content-md5", "AAAA"),
    ("content-type", "text/html"),
    ("content-range", "bytes 0-1/2"),
    ("cookie", "a=b; c=d"),
    ("expires", "0"),
    ("if-match", "*"),
    ("if-none-match", "*"),
    ("origin", "https://elsewhere.example"),
    ("range", "bytes=0-1"),
    ("user-agent", "docker"),
    ("x-forwarded-host", "elsewhere.example"),
    ("x-http-method-override", "DELETE"),
)


def refusal(made: dict[str, object]) -> tuple[object, str, str]:
    """Return the status, code and message of an answer of the function's own."""
    (error,) = json.loads(str(made["body"]))["errors"]
    return made["statusCode"], error["code"], error["message"]


def test_the_function_fits_cloudfronts_limits() -> None:
    """It is small enough, and uses no syntax that CloudFront's runtime lacks."""
    assert len(CODE.encode()) <= MOST_CODE
    code = re.sub(r"//.*|/\*.*?\*/|`[^`]*`|'[^']*'", "", CODE, flags=re.DOTALL)
    lacking = (
        r"\bclass\b|\.\.\.|\?\.|\?\?|\bfor\s*\([^)]* of |\b(const|let|var)\s*[\[{]|\beval\b|\bvar\b"
    )
    assert re.findall(lacking, code) == []


@pytest.mark.parametrize("name", ["LARGEST_AT_LAMBDA", "LARGEST_PUT"])
def test_its_limits_equal_those_of_the_product(name: str) -> None:
    """They are written twice, in two languages."""
    (found,) = re.findall(rf"const {name} = (\d+);", CODE)
    assert int(found) == {"LARGEST_AT_LAMBDA": LAMBDA_BODY, "LARGEST_PUT": PUT_MAXIMUM}[name]


@pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
@pytest.mark.parametrize("length", [LARGE, str(PUT_MAXIMUM)])
def test_a_large_put_of_an_upload_goes_to_its_key_in_the_bucket(colon: str, length: str) -> None:
    """S3 is told the digest in both its forms; the client's query is gone, and so is its type."""
    path = upload()
    outcome = ask(
        FUNCTION, "PUT", f"{path}?digest=sha256{colon}{HEX}&at=5", {"content-length": length}
    )
    assert outcome.origin == "bucket"
    assert outcome.value["uri"] == f"/direct/{SESSION}/{HEX}"
    assert outcome.value["querystring"] == outcome.value["cookies"] == {}
    assert {name: each["value"] for name, each in outcome.value["headers"].items()} == {
        "host": "registry.example",
        "content-length": length,
        "content-type": "application/octet-stream",
        "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(HEX)).decode(),
        "x-amz-content-sha256": HEX,
        "x-moorage-mark": f"{path}?commit&digest={DIGEST}",
    }


def test_a_ticket_that_the_client_encoded_is_the_same() -> None:
    """`~` may be %7E; the commit then names the path as the client does."""
    path = upload().replace("~", "%7E")
    outcome = ask(FUNCTION, "PUT", f"{path}?digest={DIGEST}", {"content-length": LARGE})
    assert outcome.value["uri"] == f"/direct/{SESSION}/{HEX}"
    assert outcome.value["headers"]["x-moorage-mark"]["value"].startswith(path)


def test_no_header_of_a_client_reaches_the_bucket() -> None:
    """Neither by a PUT nor by a download: CloudFront would sign them in the registry's name."""
    sent = (("content-length", LARGE), *SMUGGLED)
    put = ask(FUNCTION, "PUT", f"{upload()}?digest={DIGEST}&x-id=CopyObject&acl", sent)
    clean = ask(FUNCTION, "PUT", f"{upload()}?digest={DIGEST}", {"content-length": LARGE})
    assert put.value == {**clean.value, "headers": put.value["headers"]}
    marks = ("x-moorage-mark", "content-length")
    for name, each in put.value["headers"].items():
        assert name in marks or each == clean.value["headers"][name]
    assert set(put.value["headers"]) == set(clean.value["headers"])
    got = ask(FUNCTION, "GET", f"{download(DIGEST)}?response-content-type=text/html&acl", SMUGGLED)
    assert set(got.value["headers"]) == {"host", "range", "x-moorage-mark"}
    assert got.value["headers"]["x-moorage-mark"]["value"] == DIGEST
    assert got.value["querystring"] == {}


@pytest.mark.parametrize(
    ("path", "query", "status", "code"),
    [
        (upload(tickets=STRANGERS), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload(expiry=PAST), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload().replace(NAME, "team/other"), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload().replace(NAME, "team/x/../app"), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload().replace(NAME, "team//app"), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload().replace("-8000-", "-9000-"), f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (upload()[:-1] + "_", f"digest={DIGEST}", 404, "BLOB_UPLOAD_UNKNOWN"),
        (
            download(DIGEST).replace("/blobs/", "/blobs/uploads/"),
            f"digest={DIGEST}",
            413,
            "SIZE_INVALID",
        ),
        (
            upload().replace("/uploads/", "/uploads/x/"),
            f"digest={DIGEST}",
            413,
            "SIZE_INVALID",
        ),
        (upload().replace("team/app", "team%2Fapp"), f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (upload().replace("team/app", "TEAM/app"), f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (upload() + "/", f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (upload() + "/../x", f"digest={DIGEST}", 413, "SIZE_INVALID"),
        ("/" + upload(), f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (f"/direct/{SESSION}/{HEX}", f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (f"/v2/{NAME}/blobs/uploads/{SESSION}", f"digest={DIGEST}", 413, "SIZE_INVALID"),
        (f"/v2/{NAME}/manifests/1", "", 413, "SIZE_INVALID"),
        (upload(), "", 400, "DIGEST_INVALID"),
        (upload(), f"digest={HEX}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:{HEX.upper()}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=SHA256:{HEX}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256%253A{HEX}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:{HEX[:-1]}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:{HEX}0", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:{HEX}%0A", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:{HEX[:-2]}..", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha256:../{HEX[3:]}", 400, "DIGEST_INVALID"),
        (upload(), f"dige%73t={DIGEST}", 400, "DIGEST_INVALID"),
        (upload(), f"digest={DIGEST}&digest={DIGEST}", 400, "DIGEST_INVALID"),
        (upload(), f"digest=sha512:{HEX}{HEX}", 400, "DIGEST_INVALID"),
        (upload(algorithm="sha512"), f"digest={DIGEST}", 400, "DIGEST_INVALID"),
    ],
)
def test_a_large_put_that_the_api_did_not_let_in_is_refused(
    path: str, query: str, status: int, code: str
) -> None:
    """By its own answer, which says what to do: API Gateway's would be a bare 413."""
    outcome = ask(FUNCTION, "PUT", f"{path}?{query}", {"content-length": LARGE})
    assert outcome.origin is None
    assert refusal(outcome.value)[:2] == (status, code)


@pytest.mark.parametrize(
    "length", ["-5", "+5", "0x10", "5e9", "", " 5", "5 ", "5,5", "9" * 16, "\u0661"]
)
@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_length_that_is_no_number_is_refused(length: str, method: str) -> None:
    """Without a length nobody can decide where the request goes."""
    outcome = ask(FUNCTION, method, f"{upload()}?digest={DIGEST}", {"content-length": length})
    assert refusal(outcome.value)[:2] == (400, "SIZE_INVALID")


def test_two_lengths_or_a_length_beside_chunks_are_refused() -> None:
    """Two servers could use different ones."""
    for more in (("content-length", "5"), ("transfer-encoding", "chunked")):
        sent = (("content-length", LARGE), more)
        outcome = ask(FUNCTION, "PUT", f"{upload()}?digest={DIGEST}", sent)
        assert refusal(outcome.value)[:2] == (400, "SIZE_INVALID")


def test_above_5_gib_a_put_is_refused_with_the_other_ways() -> None:
    """S3 takes no more in one PUT, and would say so after the last byte."""
    sent = {"content-length": str(PUT_MAXIMUM + 1)}
    status, code, message = refusal(ask(FUNCTION, "PUT", f"{upload()}?digest={DIGEST}", sent).value)
    assert (status, code) == (413, "SIZE_INVALID")
    assert "moorage push" in message
    assert "moorage proxy" in message


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", upload()),
        ("POST", f"/v2/{NAME}/blobs/uploads/"),
        ("PUT", f"/v2/{NAME}/manifests/latest"),
        ("GET", f"{upload()}"),
        ("DELETE", f"{upload()}"),
    ],
)
def test_other_large_bodies_are_413_with_the_other_ways(method: str, path: str) -> None:
    """As skopeo and crane send layers: no function can change their method."""
    made = ask(FUNCTION, method, path, {"content-length": LARGE})
    status, code, message = refusal(made.value)
    assert (status, code) == (413, "SIZE_INVALID")
    for way in ("docker 29", "buildx", "oras", "helm", "moorage push", "moorage proxy"):
        assert way in message


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/v2/", {}),
        ("POST", f"/v2/{NAME}/blobs/uploads/?mount={DIGEST}&from=a", {"content-length": "0"}),
        ("PUT", f"{upload()}?digest={DIGEST}", {"content-length": str(LAMBDA_BODY)}),
        ("PUT", f"{upload()}?digest={DIGEST}", {"content-length": "0"}),
        ("PUT", f"{upload()}?digest={DIGEST}", {"transfer-encoding": "chunked"}),
        ("PATCH", upload(), {"transfer-encoding": "chunked"}),
        ("GET", f"{upload()}?commit&digest={DIGEST}", {}),
        ("GET", f"/v2/{NAME}/blobs/{DIGEST}", {"range": "bytes=0-1"}),
        ("DELETE", f"/v2/{NAME}/blobs/{DIGEST}", {}),
        ("GET", f"/direct/{SESSION}/{HEX}", {}),
        ("GET", f"/v2/../direct/{SESSION}/{HEX}", {}),
    ],
)
def test_any_other_request_goes_to_the_api_unchanged(
    method: str, target: str, headers: dict[str, str]
) -> None:
    """Except for the client's address, signed, which a client can't set itself."""
    sent = {**headers, "authorization": "Bearer t", "x-moorage-edge": "1.2.3.4~x", "cookie": "a=b"}
    outcome = ask(FUNCTION, method, target, sent)
    assert outcome.origin is None
    path, _, query = target.partition("?")
    made = outcome.value
    assert (made["method"], made["uri"]) == (method, path)
    assert (
        "&".join(f"{k}={v['value']}" if v["value"] else k for k, v in made["querystring"].items())
        == query
    )
    assert made["cookies"] == {"a": {"value": "b"}}
    told = made["headers"].pop("x-moorage-edge")["value"]
    assert told == TICKETS.write("viewer", "", VIEWER_IP)  # type: ignore[arg-type]
    kept = {name: each["value"] for name, each in made["headers"].items()}
    assert kept == {**headers, "authorization": "Bearer t", "host": "registry.example"}


@pytest.mark.parametrize(
    ("digest", "place", "key"),
    [
        (DIGEST, "direct", f"/direct/{SESSION}/{HEX}"),
        (DIGEST, "parts", f"/direct/{SESSION}/parts"),
        (DIGEST, "blobs", f"/blobs/sha256/01/{HEX}/{SESSION}"),
        (f"sha512:{HEX}{HEX}", "blobs", f"/blobs/sha512/01/{HEX}{HEX}/{SESSION}"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_signed_download_comes_from_its_key(
    method: str, digest: str, place: str, key: str
) -> None:
    """With the range that was asked for; the answer has the digest, and no word of S3's own."""
    sent = {"range": "bytes=5-", "if-range": '"e"', "authorization": "Bearer t"}
    outcome = ask(FUNCTION, method, download(digest, place=place), sent)
    assert (outcome.origin, outcome.value["uri"]) == ("bucket", key)
    assert outcome.value["headers"]["range"] == {"value": "bytes=5-"}
    assert outcome.value["headers"]["if-range"] == {"value": '"e"'}
    s3 = (("etag", '"e"'), ("x-amz-request-id", "r"), ("content-length", "5"))
    made = answer(FUNCTION, outcome.value, 206, s3)
    assert made["statusCode"] == 206
    assert {name: each["value"] for name, each in made["headers"].items()} == {
        "etag": '"e"',
        "content-length": "5",
        "docker-content-digest": digest,
    }


@pytest.mark.parametrize(
    "alter",
    [
        lambda path: path.replace(HEX, HEX.replace("0", "1")),
        lambda path: path.replace(NAME, "team/other"),
        lambda path: path.replace("direct", "parts"),
        lambda path: path.replace("direct", "blobs"),
        lambda path: path.replace("-8000-", "-9000-"),
        lambda path: path[:-1] + "_",
        lambda path: path[:-43],
        lambda path: path + "/",
        lambda path: path + "~",
        lambda _: download(DIGEST, expiry=PAST),
        lambda _: download(DIGEST, tickets=STRANGERS),
        lambda _: f"/v2/{NAME}/blobs/{DIGEST}~~",
        lambda path: re.sub(r"~(\d+)~", lambda found: f"~{int(found[1]) + 9}~", path),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_altered_or_expired_download_is_refused(
    method: str, alter: Callable[[str], str]
) -> None:
    """Before the cache is used: its content needs a ticket."""
    outcome = ask(FUNCTION, method, alter(download(DIGEST)))
    assert outcome.origin is None
    # What is no download's path at all is the API's to refuse.
    if "statusCode" in outcome.value:
        assert refusal(outcome.value)[:2] == (403, "DENIED")
    else:
        assert "~" in outcome.value["uri"]
        assert "x-amz-content-sha256" not in outcome.value["headers"]


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH", "OPTIONS"])
def test_a_download_ticket_is_valid_only_for_get_and_head(method: str) -> None:
    """Its ticket is good for GET and HEAD."""
    made = ask(FUNCTION, method, download(DIGEST), {"content-length": "0"})
    assert refusal(made.value)[:2] == (405, "UNSUPPORTED")


def test_a_ticket_for_one_purpose_is_none_for_the_other() -> None:
    """The MAC covers the purpose."""
    fields = (SESSION, LATER, "sha256", OWNER)
    path = f"/v2/{NAME}/blobs/uploads/{TICKETS.write(Purpose.DOWNLOAD, NAME, *fields)}"
    outcome = ask(FUNCTION, "PUT", f"{path}?digest={DIGEST}", {"content-length": LARGE})
    assert refusal(outcome.value)[0] == 404


def test_both_keys_are_valid_during_a_rotation() -> None:
    """The first signs the client's address, and either may have signed a ticket."""
    path = upload(tickets=ALSO_KNOWN)
    outcome = ask(FUNCTION, "PUT", f"{path}?digest={DIGEST}", {"content-length": LARGE})
    assert outcome.origin == "bucket"
    assert ask(FUNCTION, "GET", download(DIGEST, tickets=ALSO_KNOWN)).origin == "bucket"


def test_without_keys_only_tickets_are_refused() -> None:
    """The registry works as without an edge until the keys are stored."""
    empty = function_with({})
    outcome = ask(empty, "PUT", f"{upload()}?digest={DIGEST}", {"content-length": LARGE})
    status, code, message = refusal(outcome.value)
    assert (status, code) == (503, "UNAVAILABLE")
    assert "moorage deploy" in message
    assert outcome.value["headers"]["retry-after"] == {"value": "5"}
    assert refusal(ask(empty, "GET", download(DIGEST)).value)[0] == 403
    made = ask(empty, "GET", "/v2/", {"x-moorage-edge": "forged"}).value
    assert "x-moorage-edge" not in made["headers"]


def put_request(*, rewritten: bool) -> dict[str, object]:
    """Return a PUT's request as viewer-response sees it: as the function made it, or as it came."""
    target = f"{upload(expiry=LATER)}?digest={DIGEST}"
    if rewritten:
        return ask(FUNCTION, "PUT", target, {"content-length": LARGE}).value
    forged = {
        "x-moorage-mark": {"value": "https://elsewhere.example/"},
        "content-length": {"value": LARGE},
    }
    path, _, _ = target.partition("?")
    query = {"digest": {"value": DIGEST}}
    return {"method": "PUT", "uri": path, "querystring": query, "headers": forged, "cookies": {}}


@pytest.mark.parametrize("rewritten", [True, False])
def test_what_s3_took_is_committed_by_a_get(rewritten: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """303 to the upload's own path, also if CloudFront should show the client's own request."""
    s3 = (("etag", '"e"'), ("x-amz-checksum-sha256", "x"), ("content-length", "0"))
    made = answer(FUNCTION, put_request(rewritten=rewritten), 200, s3)
    assert (made["statusCode"], made["statusDescription"]) == (303, "See Other")
    location = made["headers"].pop("location")["value"]
    assert re.fullmatch(
        rf"/v2/{NAME}/blobs/uploads/{SESSION}~\d+~sha256~{OWNER}~.{{43}}\?commit&digest={DIGEST}",
        location,
    )
    assert made["headers"] == {
        "etag": {"value": '"e"'},
        "content-length": {"value": "0"},
        "cache-control": {"value": "no-store"},
    }


@pytest.mark.parametrize("status", [201, 202, 204, 301, 307])
def test_other_answers_to_a_put_stay_unchanged(status: int) -> None:
    """Only S3 answers a PUT with 200; the API's answers reach the client."""
    sent = (("location", "/v2/x"), ("content-length", "0"))
    made = answer(FUNCTION, put_request(rewritten=False), status, sent)
    assert made["statusCode"] == status
    assert made["headers"]["location"] == {"value": "/v2/x"}


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_clients_own_marker_has_no_effect(method: str) -> None:
    """Even if CloudFront shows the client's own headers with an answer of the API."""
    forged = {"x-moorage-mark": {"value": "https://elsewhere.example/"}}
    request = {"method": method, "uri": "/v2/", "querystring": {}, "headers": forged, "cookies": {}}
    made = answer(FUNCTION, request, 200, (("content-length", "2"),))
    assert made == {
        "statusCode": 200,
        "statusDescription": "",
        "headers": {"content-length": {"value": "2"}},
    }
