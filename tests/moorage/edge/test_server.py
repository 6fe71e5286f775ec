"""The edge that runs the deployed function: bytes go to S3, and all else through the gateway.

Over MiniStack, which compares checksums. Each attack on the function is sent over the wire here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from moorage.edge.origins import ApiOrigin, BucketOrigin, Origin
from moorage.edge.runtime import EdgeFunction
from moorage.edge.server import Edge, EdgeOptions
from tests.infra.test_edge_function import ALSO_KNOWN, SMUGGLED, STRANGERS
from tests.moorage.edge.conftest import PlayedEdge, run_edge
from tests.support.edge import (
    CODE,
    DISTRIBUTION,
    NAME,
    PAST,
    SESSION,
    download,
    function_with,
    store_of,
    upload,
)
from tests.support.fake_http import FakeRequest, run_fake
from tests.support.servers import connect, exchange, request, run_server

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

DATA: Final = bytes(range(256)) * 20_000
"""Five megabytes: more than Lambda takes."""

HEX: Final = hashlib.sha256(DATA).hexdigest()
DIGEST: Final = f"sha256:{HEX}"
KEY: Final = f"direct/{SESSION}/{HEX}"
TARGET: Final = f"{upload()}?digest={DIGEST}"


def put(edge: PlayedEdge, data: bytes = DATA, target: str = TARGET) -> tuple[int, str]:
    """PUT a blob; return the status and the Location or the body."""
    status, headers, body = request(edge.url, "PUT", target, data)
    return status, headers.get("Location") or body.decode()


def test_a_large_layer_goes_to_s3_and_none_of_it_through_the_gateway(edge: PlayedEdge) -> None:
    """It is at its permanent key, and the client is sent to commit it, by its own path."""
    assert put(edge) == (303, f"{upload()}?commit&digest={DIGEST}")
    assert edge.stored() == {KEY: DATA}
    assert edge.api.events == []
    assert put(edge)[0] == 303  # once more: the same bytes


def test_wrong_bytes_are_refused_by_s3_and_the_right_ones_may_follow(edge: PlayedEdge) -> None:
    """Nothing of the wrong ones is kept, and nothing is said to be there."""
    status, text = put(edge, DATA[::-1])
    assert (status, "Sha256" in text or "BadDigest" in text) == (400, True)
    assert edge.stored() == {}
    assert put(edge)[0] == 303


def test_no_header_that_a_client_smuggles_is_stored(edge: PlayedEdge) -> None:
    """What S3 keeps of the object is the same as without them."""
    chosen = {name: value for name, value in SMUGGLED if name not in {"range", "origin"}}
    status, _, _ = request(edge.url, "PUT", f"{TARGET}&acl&x-id=CopyObject", DATA, chosen)
    assert status == 303
    s3, bucket = edge.backend.s3(), edge.backend.bucket
    found = s3.head_object(Bucket=bucket, Key=KEY, ChecksumMode="ENABLED")
    assert found["ContentType"] == "application/octet-stream"
    assert found["ContentLength"] == len(DATA)
    assert found["Metadata"] == {}
    forbidden = {
        "CacheControl",
        "ContentDisposition",
        "ContentEncoding",
        "ContentLanguage",
        "Expires",
    }
    forbidden |= {"StorageClass", "WebsiteRedirectLocation", "SSECustomerAlgorithm", "TagCount"}
    assert forbidden & {name for name in found if found.get(name)} == set()
    assert s3.get_object_tagging(Bucket=bucket, Key=KEY)["TagSet"] == []


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"{upload(tickets=STRANGERS)}?digest={DIGEST}", 404),
        (f"{upload(expiry=PAST)}?digest={DIGEST}", 404),
        (f"{upload().replace(NAME, 'team/other')}?digest={DIGEST}", 404),
        (f"{upload().replace(NAME, 'team/x/../app')}?digest={DIGEST}", 404),
        (f"{upload()}?digest=sha512:{HEX}{HEX}", 400),
        (f"{upload()}?digest=SHA256:{HEX}", 400),
        (f"{upload()}?digest=sha256:{HEX.upper()}", 400),
        (f"{upload()}?digest={DIGEST}&digest={DIGEST}", 400),
        (f"{upload()}", 400),
        (f"/{KEY}", 413),
        (f"/v2/{NAME}/blobs/uploads/{SESSION}?digest={DIGEST}", 413),
        (f"/v2/../{KEY}", 413),
    ],
    ids=range(12),
)
def test_a_forged_upload_stores_nothing(edge: PlayedEdge, target: str, status: int) -> None:
    """The whole body is read first, so that the client hears why; the API is not troubled."""
    told, _, body = request(edge.url, "PUT", target, DATA)
    assert told == status
    assert json.loads(body)["errors"][0]["message"]
    assert edge.stored() == {}
    assert edge.api.events == []


def test_a_body_that_is_shorter_than_it_says_stores_nothing(edge: PlayedEdge) -> None:
    """The request to S3 breaks off as the client's does."""
    head = (
        f"PUT {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(DATA)}\r\n\r\n".encode()
    )
    with connect(edge.url) as connection:
        connection.sendall(head + DATA[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(65536)[:12] != b"HTTP/1.1 303"
    assert edge.stored() == {}


def test_bytes_beyond_the_length_are_no_part_of_it(edge: PlayedEdge) -> None:
    """They are another request, and a malformed one."""
    short = DATA[:4_800_000]
    digest = hashlib.sha256(short).hexdigest()
    target = f"{upload()}?digest=sha256:{digest}"
    head = (
        f"PUT {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(short)}\r\n\r\n".encode()
    )
    answered = exchange(edge.url, head, DATA)
    assert answered.startswith(b"HTTP/1.1 303")
    assert edge.stored() == {f"direct/{SESSION}/{digest}": short}


def test_above_5_gib_is_refused_with_the_other_ways(edge: PlayedEdge) -> None:
    """After 64 MiB: nobody waits for five gigabytes."""
    length = 5 * 2**30 + 1
    head = f"PUT {TARGET} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()
    with connect(edge.url) as connection:
        connection.sendall(head + bytes(64 * 2**20 + 1))
        answered = connection.recv(65536)
    assert answered.startswith(b"HTTP/1.1 413")
    assert b"moorage push" in answered
    assert edge.stored() == {}


def test_a_large_patch_is_read_and_refused_with_the_other_ways(edge: PlayedEdge) -> None:
    """As podman and docker's classic store send layers: they print what they hear."""
    status, _, body = request(edge.url, "PATCH", upload(), DATA)
    assert status == 413
    assert "moorage push" in json.loads(body)["errors"][0]["message"]
    assert edge.api.events == []


def test_chunks_without_a_length_go_to_the_gateway(edge: PlayedEdge) -> None:
    """S3 would want a length; the gateway takes what fits, and says 413 to the rest."""
    status, _, _ = request(edge.url, "PUT", TARGET, iter([DATA[:1000]]))
    assert (status, len(edge.api.events)) == (200, 1)
    status, _, _ = request(edge.url, "PUT", TARGET, iter([DATA] * 3))
    assert (status, len(edge.api.events)) == (413, 1)
    assert edge.stored() == {}


def test_small_requests_pass_with_the_clients_address(edge: PlayedEdge) -> None:
    """Path, query, body and headers reach the function; the client's Host does not."""
    headers = {
        "Authorization": "Bearer t",
        "X-Moorage-Edge": "forged",
        "X-Forwarded-For": "9.9.9.9",
    }
    request(edge.url, "PUT", f"{upload()}?digest=sha256%3A{HEX}", b"small", headers)
    (event,) = edge.api.events
    assert f"/v2{event['path']}" == upload()
    assert event["queryStringParameters"] == {"digest": DIGEST}
    assert event["headers"]["authorization"] == "Bearer t"
    assert event["headers"]["x-moorage-edge"].startswith("127.0.0.1~")
    assert event["multiValueHeaders"]["X-Forwarded-For"][0].startswith("9.9.9.9, 127.0.0.1")
    assert edge.url.removeprefix("http://") not in event["headers"]["Host"]


@pytest.mark.parametrize("tickets", [None, ALSO_KNOWN], ids=["first", "second"])
def test_a_download_comes_from_s3_with_ranges(edge: PlayedEdge, tickets: object) -> None:
    """Whole, by HEAD, from the middle on, and 416 beyond its end."""
    put(edge)
    path = download(DIGEST) if tickets is None else download(DIGEST, tickets=ALSO_KNOWN)
    status, headers, body = request(edge.url, "GET", path, headers={"Authorization": "Bearer t"})
    assert (status, body, headers["Docker-Content-Digest"]) == (200, DATA, DIGEST)
    assert not [name for name in headers if name.lower().startswith("x-amz-")]
    status, headers, body = request(edge.url, "HEAD", path)
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(DATA)))
    status, headers, body = request(edge.url, "GET", path, headers={"Range": "bytes=5000000-"})
    assert (status, body) == (206, DATA[5_000_000:])
    assert headers["Content-Range"] == f"bytes 5000000-{len(DATA) - 1}/{len(DATA)}"
    status, _, _ = request(edge.url, "GET", path, headers={"Range": f"bytes={len(DATA)}-"})
    assert status == 416
    assert edge.api.events == []


@pytest.mark.parametrize(
    "target",
    [
        download(DIGEST, expiry=PAST),
        download(DIGEST, tickets=STRANGERS),
        download(DIGEST).replace(NAME, "team/other"),
        download(DIGEST).replace("~direct~", "~blobs~"),
        download(DIGEST)[:-1] + "_",
    ],
    ids=range(5),
)
def test_an_altered_download_is_refused(edge: PlayedEdge, target: str) -> None:
    """The object exists, and was just fetched by the right address."""
    put(edge)
    assert request(edge.url, "GET", download(DIGEST))[0] == 200
    assert request(edge.url, "GET", target)[0] == 403


@pytest.mark.parametrize(
    "path", [f"/{KEY}", f"//{KEY}", f"/v2/../{KEY}", f"/%64irect/{SESSION}/{HEX}"]
)
def test_a_key_without_a_ticket_is_404(edge: PlayedEdge, path: str) -> None:
    """The path goes to the API, which has no such endpoint."""
    put(edge)
    _, _, body = request(edge.url, "GET", path)
    assert body != DATA
    # The gateway itself refuses a path that is below none of its stages.
    assert [event["path"] for event in edge.api.events] in ([path.removeprefix("/v2")], [])


@pytest.mark.parametrize(("told", "kept"), [(True, False), (False, True)])
def test_errors_are_kept_unless_the_template_says_otherwise(
    ministack: Backend,
    told: bool,  # noqa: FBT001 - a case
    kept: bool,  # noqa: FBT001 - likewise
) -> None:
    """CloudFront keeps a 404 for 10 seconds: a HEAD before a push would hide the blob after it."""
    distribution = replace(
        DISTRIBUTION,
        error_seconds=DISTRIBUTION.error_seconds if told else dict.fromkeys([404], 10),
    )
    with run_edge(ministack, distribution=distribution) as edge:
        edge.api.answer = {"statusCode": 404}
        assert request(edge.url, "HEAD", f"/v2/{NAME}/blobs/{DIGEST}")[0] == 404
        edge.api.answer = {"statusCode": 200}
        found = request(edge.url, "HEAD", f"/v2/{NAME}/blobs/{DIGEST}")[0]
        assert found == (404 if kept else 200)


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("delete request.headers[MARK];", "request.method = 'POST';", 502),
        ("delete request.headers[MARK];", "delete request.headers.host;", 502),
        ("delete request.headers[MARK];", "request.headers['content-length'] = {value: '5'};", 502),
        ("delete request.headers[MARK];", "request.headers.connection = {value: 'close'};", 502),
        ("delete request.headers[MARK];", "request.headers.Accept = {value: 'x'};", 502),
        ("delete request.headers[MARK];", "throw new Error('x');", 503),
        ("delete request.headers[MARK];", "cf.selectRequestOriginById('other');", 503),
        (
            "const download = DOWNLOAD",
            "response.headers.via = {value: 'x'}; const download = DOWNLOAD",
            502,
        ),
    ],
    ids=["method", "host", "length", "hidden", "case", "throws", "origin", "answer"],
)
def test_a_function_that_does_what_cloudfront_forbids_fails(
    ministack: Backend, old: str, new: str, status: int
) -> None:
    """As it would there: 502 for what it must not touch, 503 for what it throws."""
    assert CODE.count(old) == 1
    function = EdgeFunction(CODE.replace(old, new), store_of().get, DISTRIBUTION.origins)
    with run_edge(ministack, function) as edge:
        assert request(edge.url, "GET", "/v2/")[0] == status


def test_an_error_of_the_api_is_shown_to_no_function(ministack: Backend) -> None:
    """CloudFront calls none for 400 and above: what it would do there must not be relied on."""
    code = CODE.replace(
        "return answered(event.request, event.response);",
        "event.response.statusCode = 299; return event.response;",
    )
    with run_edge(ministack, EdgeFunction(code, store_of().get, DISTRIBUTION.origins)) as edge:
        edge.api.answer = {"statusCode": 200}
        assert request(edge.url, "GET", "/v2/")[0] == 299
        edge.api.answer = {"statusCode": 401, "headers": {"x-a": "b"}}
        status, headers, _ = request(edge.url, "GET", "/v2/")
        assert (status, headers["x-a"]) == (401, "b")


def test_a_put_is_sent_to_s3_once(ministack: Backend) -> None:
    """Also where its connection broke before an answer: the client decides what to do."""
    seen = []

    def breaks(asked: FakeRequest) -> None:
        seen.append(asked.path)
        asked.close_connection = True

    with run_fake(breaks) as url:
        environment = {**ministack.environment, "AWS_ENDPOINT_URL": url}
        origins: dict[str, Origin] = {"api": ApiOrigin(url), "bucket": BucketOrigin.at(environment)}
        edge = Edge(EdgeOptions(port=0), DISTRIBUTION, function_with(store_of()), origins)
        with run_server(edge) as address, contextlib.suppress(ConnectionError):
            assert request(address, "PUT", TARGET, DATA)[0] == 502
    assert len(seen) == 1


def test_the_edge_answers_to_this_machines_names_only(edge: PlayedEdge) -> None:
    """As the gateway does: a web page could reach it by a name of its own otherwise."""
    assert request(edge.url, "GET", "/v2/", headers={"Host": "evil.example"})[0] == 403
    assert edge.api.events == []


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "registry.localhost:{}"])
@pytest.mark.parametrize(
    ("realm", "own"),
    [
        ("http://127.0.0.1:5000/v2/_token", True),
        ("http://localhost:5000/v2/_token", True),
        ("https://r.example.com/v2/_token", False),
        ("http://r.example.com/v2/_token", False),
        ("http://[", False),
    ],
)
def test_the_realm_of_a_local_registry_is_at_the_edge(
    *, realm: str, own: bool, host: str, edge: PlayedEdge
) -> None:
    """At the host and port that the client asked, as crane wants it; any other realm stays."""
    challenge = f'Bearer realm="{realm}",service="s",scope="repository:a:pull"'
    edge.api.answer = {"statusCode": 401, "headers": {"WWW-Authenticate": challenge}}
    asked = host.format(edge.url.rpartition(":")[2])
    _, headers, _ = request(edge.url, "GET", "/v2/", headers={"Host": asked})
    here = f"http://{asked}/v2/_token" if own else realm
    # API Gateway renames what a function says.
    told = [headers[name] for name in headers if name.lower().endswith("www-authenticate")]
    assert told == [challenge.replace(realm, here)]


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_path_of_downloads_takes_no_other_method(edge: PlayedEdge, method: str) -> None:
    """The template says which, and CloudFront refuses the rest."""
    assert request(edge.url, method, download(DIGEST))[0] == 403
    assert edge.api.events == []
