"""What a broken gateway breaks: small changes of requests and answers, and the tables of them.

Each says what some program before a registry does that it should not do.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from chalicelib.limits import LAMBDA_BODY
from tests.moorage.doctor.broken_gateway import STORE, Break, Reply, SentRequest

if TYPE_CHECKING:
    from collections.abc import Callable


def on(test: Callable[[SentRequest], bool], change: Callable[[Reply], None]) -> Break:
    """Change the answers to some requests."""

    def tell(sent: SentRequest, reply: Reply) -> None:
        if test(sent):
            change(reply)

    return Break(on_reply=tell)


def cut(test: Callable[[SentRequest], bool]) -> Break:
    """Close the connection of some requests without an answer."""

    def ask(sent: SentRequest) -> None:
        if test(sent):
            raise ConnectionAbortedError

    return Break(on_request=ask)


def method(*methods: str, has: str = "") -> Callable[[SentRequest], bool]:
    """Choose requests by their method, and by what is in their target."""
    return lambda sent: sent.method in methods and has in sent.target


def header(name: str, value: str | None) -> Callable[[Reply], None]:
    """Set a header where there is one; None takes it away."""

    def change(reply: Reply) -> None:
        there = reply.headers.popall(name, [])
        if there and value is not None:
            reply.headers[name] = value

    return change


def instead(status: int, content: bytes = b"{}", **headers: str) -> Callable[[Reply], None]:
    """Put another answer in the place of the registry's."""

    def change(reply: Reply) -> None:
        reply.status, reply.body, reply.length = status, content, None
        reply.headers = Reply.of(status, content, **headers).headers

    return change


def body(edit: Callable[[bytes], bytes]) -> Callable[[Reply], None]:
    """Change what a good answer carries."""

    def change(reply: Reply) -> None:
        if reply.status in {200, 206}:
            reply.body = edit(reply.body)

    return change


def fields(**changes: Any) -> Callable[[Reply], None]:  # noqa: ANN401 - JSON
    """Change fields of a JSON object."""
    return body(lambda text: json.dumps({**json.loads(text), **changes}).encode())


def length(value: str, status: int = 200) -> Callable[[Reply], None]:
    """Tell another length on the HEADs that have this status."""

    def change(reply: Reply) -> None:
        if reply.status == status:
            reply.length = value

    return change


def asking(
    test: Callable[[SentRequest], bool], change: Callable[[SentRequest], Reply | None]
) -> Break:
    """Change some requests, or answer them oneself."""
    return Break(on_request=lambda sent: change(sent) if test(sent) else None)


def without(name: str) -> Callable[[SentRequest], None]:
    """Lose a header of a request."""

    def change(sent: SentRequest) -> None:
        sent.headers.popall(name, None)

    return change


def refuse(status: int) -> Callable[[SentRequest], Reply]:
    """Answer with a status, as some firewall does."""
    return lambda _: Reply.of(status, b"<html>no</html>", Content_Type="text/html")


def lose_query(sent: SentRequest) -> None:
    """Lose what follows the question mark."""
    sent.target = sent.path


def take_again(sent: SentRequest) -> Reply | None:
    """Take a chunk for new whenever it comes, but for the first time."""
    seen, sent.state["seen"] = sent.state.get("seen", False), True
    return Reply.of(202, Range="0-270000", Location=sent.target) if seen else None


def leading_to(origin: str) -> Callable[[Reply], None]:
    """Name another host, or another port, in a Location that names none."""

    def change(reply: Reply) -> None:
        location = reply.headers.get("Location", "")
        if location.startswith("/"):
            reply.headers["Location"] = origin + location

    return change


def off_by_one(reply: Reply) -> None:
    """Tell one byte more than is kept."""
    if reply.status == 202 and "Range" in reply.headers:
        reply.headers["Range"] = f"0-{int(reply.headers['Range'][2:]) + 1}"


def boast(sent: SentRequest, reply: Reply) -> None:
    """Say that a chunk whose connection broke is kept."""
    if sent.method == "GET" and sent.state.get("cut") == sent.path:
        reply.headers["Range"] = "0-99999"


def untyped(sent: SentRequest) -> bool:
    """Choose requests with a body that has no type."""
    return "Content-Type" not in sent.headers and sent.method in {"PATCH", "PUT"}


def as_utf8(sent: SentRequest) -> None:
    """Take a body for text, as API Gateway does where it is not told otherwise."""
    sent.body = sent.body.decode(errors="replace").encode()[: len(sent.body)]


def capped(limit: int) -> Break:
    """Take no more than `limit` bytes."""
    return asking(lambda sent: len(sent.body) > limit, refuse(413))


def as_text(sent: SentRequest, reply: Reply) -> None:
    """Take an answer for text where JSON is sent for first, as API Gateway can."""
    if sent.headers.get("Accept", "").startswith("application/json") and "/blobs/" in sent.target:
        reply.body = base64.b64encode(reply.body)


def followed(reply: Reply) -> None:
    """Answer with what is behind a redirect, as far as this can be made up."""
    if reply.status == 307:
        instead(200, b"x" * 64)(reply)


def no_url(reply: Reply) -> None:
    """Name no URL for the bytes."""
    reply.body = json.dumps({"put": {}}).encode()


def again(reply: Reply) -> None:
    """Take what is there already."""
    if reply.status == 412:
        instead(200)(reply)


def zipped(reply: Reply) -> None:
    """Compress an answer, as a CDN does."""
    if reply.status == 200:
        reply.body = zlib.compress(reply.body)
        reply.headers["Content-Encoding"] = "deflate"


def lost(sent: SentRequest, reply: Reply) -> None:
    """Fail for an upload whose connection broke."""
    if sent.method == "GET" and sent.state.get("cut") == sent.path:
        instead(500)(reply)


def has_no_password(sent: SentRequest) -> bool:
    """Choose what asks for a token with the password that doctor makes up."""
    return sent.method == "POST" and b"not-a-password" in sent.body


def empty_put(sent: SentRequest) -> bool:
    """Choose what closes an upload that is whole."""
    return sent.method == "PUT" and not sent.body


@dataclass(frozen=True)
class Row:
    """What is broken, the check that must fail for it, and a part of its advice."""

    check: str
    broken: Break
    says: str = ""
    redirecting: bool = False
    large: bool = False


def before_s3(check: str, broken: Break, says: str = "") -> Row:
    """Break something before a registry that redirects every HEAD of a blob."""
    return Row(check, broken, says, redirecting=True)


CHALLENGE = "WWW-Authenticate"
VERSION = {"Docker_Distribution_Api_Version": "registry/2.0"}
NOWHERE = "http://127.0.0.1:1/bucket"
IN_LOG, THROTTLED, REFUSED = "the function's log", "throttling", "firewall"
AT_S3 = "the URL at S3 fails"
TO_REDIRECT = "MOORAGE_HEAD_STRATEGY=redirect"
WITHOUT_TLS = header("Location", "http://s3.invalid/")
ELSEWHERE = leading_to("http://registry.invalid")
NO_DIGEST = header("Docker-Content-Digest", None)
NETWORK = "the network from here to the registry"
IS_BLOB = method("GET", has="/blobs/sha256")
IS_STORED_BLOB = method("GET", has=STORE)
IS_V2 = method("GET", has="/v2/")
BLOB_HEAD, MANIFEST_HEAD = method("HEAD", has="/blobs/"), method("HEAD", has="/manifests/")
AT_STORE = method("HEAD", has=STORE)
PUT_AT_STORE = method("PUT", has=STORE)
DIRECT = method("POST", has="/_moorage/uploads/")
COMMIT = method("PUT", has="/_moorage/uploads/")
TOKEN = method("POST", has="_token")
DELETE, TAGS = method("DELETE"), method("GET", has="/tags/")
DENIED = b'{"errors": [{"code": "DENIED", "message": "this login may not do that here"}]}'
IS_MANIFEST = method("GET", has="/manifests/")
REALM = method("GET", has="/v2/_token")
TOKEN_HEAD = method("HEAD", has="/v2/_token")


def edge(*, taken: Reply | None = None, bytes_come_back: bool = True) -> Break:
    """Play an edge before a registry; `taken` is its answer to a large PUT, instead of 303."""

    def ask(sent: SentRequest) -> Reply | None:  # noqa: PLR0911 - each request has its own answer
        path, _, query = sent.target.partition("?")
        if "~1~direct~" in path:
            return Reply.of(403, b'{"errors":[{"code":"DENIED"}]}')
        if sent.method == "PUT" and len(sent.body) > LAMBDA_BODY:
            digest = f"sha256:{hashlib.sha256(sent.body).hexdigest()}"
            if taken is not None:
                return taken
            if digest not in query:
                return Reply.of(400, b"<Error><Code>BadDigest</Code></Error>")
            sent.state[digest] = sent.body
            return Reply.of(303, Location=f"{path}?commit&digest={digest}")
        if sent.method == "GET" and query.startswith("commit&digest="):
            return Reply.of(201, Docker_Content_Digest=query.partition("digest=")[2])
        digest = path.rpartition("/")[2].partition("~")[0]
        if digest in sent.state and sent.method == "GET":
            if "~" not in path:
                return Reply.of(307, Location=f"{path}~ticket")
            return Reply.of(200, sent.state[digest] if bytes_come_back else b"others")
        return None

    return Break(on_request=ask)


BROKEN = {
    "no function at the edge": Row(
        "edge-put", edge(taken=Reply.of(413)), "has the function for viewer-request"
    ),
    "the edge gives other bytes": Row("edge-get", edge(bytes_come_back=False), "the bucket as its"),
    "hangs up": Row("reach", Break(hang_up=True)),
    "wrong stage": Row(
        "version", on(IS_V2, instead(403, b'{"message":"Forbidden"}')), "stage `v2`"
    ),
    "no version": Row("version", on(IS_V2, header("Docker-Distribution-Api-Version", None))),
    "strips the challenge": Row("challenge", on(IS_V2, header(CHALLENGE, None))),
    "renames the challenge": Row(
        "challenge",
        on(IS_V2, instead(401, b"{}", x_amzn_Remapped_WWW_Authenticate="Bearer", **VERSION)),
    ),
    "asks for Basic": Row("challenge", on(IS_V2, header(CHALLENGE, 'Basic realm="x"'))),
    "realm without TLS": Row(
        "challenge",
        on(IS_V2, header(CHALLENGE, 'Bearer realm="http://r.invalid/_token",service="r"')),
    ),
    "realm of nobody": Row("challenge", asking(REALM, refuse(404)), "PublicUrl"),
    "realm that is no URL": Row(
        "challenge", on(IS_V2, header(CHALLENGE, 'Bearer realm="http://[x",service="r"'))
    ),
    "short tokens": Row("token", on(TOKEN, fields(expires_in=10))),
    "no tokens": Row("token", on(TOKEN, instead(200, b"{}"))),
    "void tokens": Row("token", on(TOKEN, fields(token="void"))),  # noqa: S106
    "grants less": Row(
        "token", on(TOKEN, fields(scope="repository:team/grants-less:pull")), "moorage grant"
    ),
    "knows everybody": Row(
        "refusal", asking(has_no_password, lambda _: Reply.of(200, b'{"token": "t"}'))
    ),
    "expired Date": Row("clock", on(IS_V2, header("Date", "Wed, 01 Jan 2020 00:00:00 GMT")), "NTP"),
    "has tags already": Row("scratch", on(TAGS, instead(200, b'{"tags": ["latest"]}'))),
    "leads to another host": Row("location", on(method("POST", "PATCH", "PUT"), ELSEWHERE)),
    "leads to another port": Row("location", on(method("PUT"), leading_to("http://localhost:1"))),
    "leads nowhere": Row("location", on(method("PATCH"), header("Location", None))),
    "no digest": Row("upload", on(method("PUT"), NO_DIGEST)),
    "loses the query": Row("upload", asking(method("PUT"), lose_query)),
    "tells a wrong Range": Row("chunks", on(method("PATCH"), off_by_one)),
    "takes a chunk twice": Row(
        "chunks", asking(lambda sent: sent.headers.get("Content-Range") == "0-99999", take_again)
    ),
    "needs a length": Row("streamed", asking(lambda sent: sent.chunked, refuse(411))),
    "knows no chunked bodies": Row(
        "streamed", asking(lambda sent: sent.chunked, refuse(501)), "moorage proxy"
    ),
    "needs a Content-Type": Row(
        "untyped", asking(lambda a: a.method == "PATCH" and untyped(a), refuse(415)), "Content-Type"
    ),
    "takes untyped bodies for text": Row("untyped", asking(untyped, as_utf8), "binaryMediaTypes"),
    "needs a type to close": Row(
        "untyped", asking(lambda a: a.method == "PUT" and untyped(a), refuse(415))
    ),
    "fails for a wrong digest": Row("wrong-digest", on(empty_put, instead(500))),
    "takes a wrong digest": Row("wrong-digest", on(empty_put, instead(201)), "must not be used"),
    "loses a cut chunk": Row("resume", Break(on_reply=boast)),
    "takes 1 MB": Row("sizes", capped(1_000_000), "WAF"),
    "corrupts a byte": Row(
        "bytes", on(IS_BLOB, body(lambda data: data[:-1] + bytes([data[-1] ^ 1])))
    ),
    "gunzips": Row(
        "bytes",
        on(IS_BLOB, body(lambda data: gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)),
        "binaryMediaTypes",
    ),
    "packs": Row(
        "bytes", on(lambda a: IS_BLOB(a) and "gzip" in a.headers.get("Accept-Encoding", ""), zipped)
    ),
    "guesses text by Accept": Row("accept", Break(on_reply=as_text), "INLINE_LIMIT=0"),
    "needs an Accept": Row(
        "accept", asking(lambda a: IS_BLOB(a) and "Accept" not in a.headers, refuse(406))
    ),
    "drops Range": Row("range", asking(IS_BLOB, without("Range"))),
    "wrong Content-Range": Row("range", on(IS_BLOB, header("Content-Range", "bytes 0-1/2"))),
    "follows redirects": Row("redirect", on(lambda _: True, followed), large=True),
    "S3 refuses": before_s3("redirect", asking(lambda a: STORE in a.target, refuse(403))),
    "S3 drops Range": Row("redirect", asking(IS_STORED_BLOB, without("Range")), large=True),
    "redirects nowhere": before_s3("redirect", on(method("HEAD"), header("Location", "nowhere"))),
    "redirects without TLS": before_s3("redirect", on(method("HEAD"), WITHOUT_TLS)),
    "S3 compares no bytes": Row("direct", on(PUT_AT_STORE, instead(200)), "x-amz-checksum-sha256"),
    "S3 writes over what is there": Row("direct", on(PUT_AT_STORE, again), "If-None-Match"),
    "takes parts for granted": Row(
        "direct-parts", on(COMMIT, instead(201)), "the PUT that commits"
    ),
    "has every blob": Row("missing", on(BLOB_HEAD, instead(200))),
    "HTML errors": Row(
        "missing", on(IS_BLOB, instead(404, b"<html>Not Found</html>", Content_Type="text/html"))
    ),
    "errors of another code": Row("missing", on(IS_BLOB, instead(404, b'{"errors":["x"]}'))),
    "refuses what is encoded": Row(
        "paths", asking(lambda a: unquote(a.path) != a.path, refuse(403))
    ),
    "fails for slashes": Row(
        "paths", asking(lambda a: a.method == "GET" and a.path[4:].endswith("/"), refuse(404))
    ),
    "lies in a blob's HEAD": Row("blob-head", on(BLOB_HEAD, length("7"))),
    "says 0 in a blob's HEAD": Row("blob-head", on(BLOB_HEAD, length("0")), TO_REDIRECT),
    "lies in S3's HEAD": before_s3("blob-head", on(AT_STORE, length("0"))),
    "lies in a manifest's HEAD": Row("manifest-head", on(MANIFEST_HEAD, length("7"))),
    "says 0 beside a digest": Row("manifest-head", on(MANIFEST_HEAD, length("0")), TO_REDIRECT),
    "strips the digest": Row("manifest-head", on(method("HEAD"), NO_DIGEST)),
    "a 204 with a length": before_s3("manifest-head", on(method("HEAD"), length("0", 204))),
    "says 0 to every HEAD": Row(
        "head-strategy",
        on(lambda a: a.method == "HEAD" and not AT_STORE(a), length("0")),
        TO_REDIRECT,
    ),
    "rewrites JSON": Row(
        "manifest",
        on(IS_MANIFEST, body(lambda data: json.dumps(json.loads(data), indent=1).encode())),
    ),
    "another type": Row("manifest", on(IS_MANIFEST, header("Content-Type", "text/plain"))),
    "no Link": Row("tags", on(TAGS, header("Link", None))),
    "Link to another host": Row(
        "tags", on(TAGS, header("Link", '<http://r.invalid/v2/x>; rel="next"'))
    ),
    "Link past the domain": Row("tags", on(TAGS, header("Link", '</prod/x>; rel="next"'))),
    "no referrers": Row("referrers", on(method("GET", has="/referrers/"), fields(manifests=[]))),
    "no OCI-Subject": Row("referrers", on(method("PUT"), header("OCI-Subject", None))),
    "ignores mounts": Row("mount", asking(method("POST", has="mount="), lose_query)),
    "tells what is there": Row("no-leak", on(lambda a: "not-there" in a.target, instead(404))),
    "lets everybody see": Row("no-leak", on(lambda a: "/tags/" in a.target, instead(200, b"[]"))),
    "deletes nothing": Row("delete", asking(DELETE, lambda _: Reply.of(202))),
    "keeps what was deleted": Row(
        "cleanup", asking(DELETE, lambda _: Reply.of(202)), "delete what is left"
    ),
    "refuses to delete": Row("cleanup", asking(DELETE, refuse(405))),
}
"""A gateway that breaks what the check looks at."""

FAILING = {
    "a pull is cut": Row("bytes", cut(IS_BLOB), NETWORK),
    "a refusal is cut": Row(
        "refusal", cut(lambda a: a.headers.get("Authorization") == "Bearer x.y.z"), NETWORK
    ),
    "a push is cut": Row("upload", cut(method("PUT")), NETWORK),
    "a stream is cut": Row("streamed", cut(lambda sent: sent.chunked), "moorage proxy"),
    "S3 refuses HEAD": before_s3("blob-head", asking(AT_STORE, refuse(403)), AT_S3),
    "S3 knows no such region": before_s3("blob-head", asking(AT_STORE, refuse(400)), AT_S3),
    "S3 leads to the bucket's region": before_s3(
        "blob-head",
        on(AT_STORE, instead(307, x_amz_bucket_region="eu-south-2")),
        "the bucket is in eu-south-2",
    ),
    "S3 is slow": before_s3("blob-head", asking(AT_STORE, refuse(503)), "try again"),
    "S3 is out of reach": before_s3(
        "blob-head", on(BLOB_HEAD, header("Location", NOWHERE)), "the network from here to S3"
    ),
    "a blob's HEAD is lost": Row("blob-head", on(BLOB_HEAD, instead(404)), IN_LOG),
    "a blob's HEAD fails": Row(
        "blob-head", on(BLOB_HEAD, instead(500, x_amzn_RequestId="r-1")), "request_id r-1"
    ),
    "a redirect is without TLS": before_s3(
        "blob-head", on(BLOB_HEAD, WITHOUT_TLS), "must be https"
    ),
    "a manifest's HEAD fails": Row("manifest-head", on(MANIFEST_HEAD, instead(500)), IN_LOG),
    "a manifest's HEAD is lost": Row("manifest-head", on(MANIFEST_HEAD, instead(404)), IN_LOG),
    "the strategy's HEAD fails": Row("head-strategy", on(TOKEN_HEAD, instead(500)), IN_LOG),
    "the strategy's HEAD is lost": Row(
        "head-strategy", on(TOKEN_HEAD, instead(404)), "must pass HEAD on"
    ),
    "the strategy's HEAD has another length": Row(
        "head-strategy", on(TOKEN_HEAD, length("7")), "must pass HEAD on"
    ),
    "the strategy's blob fails": Row("head-strategy", on(BLOB_HEAD, instead(502)), IN_LOG),
    "S3 refuses a redirect": before_s3("redirect", asking(AT_STORE, refuse(403)), AT_S3),
    "S3 refuses a PUT": Row("direct", asking(PUT_AT_STORE, refuse(403)), AT_S3),
    "the bucket refuses the edge": Row(
        "edge-put", edge(taken=Reply.of(403, b"<Error><Code>AccessDenied</Code></Error>")), "policy"
    ),
    "the edge signs otherwise": Row(
        "edge-put",
        edge(taken=Reply.of(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")),
        "two headers with the digest",
    ),
    "the edge leaves 200": Row("edge-put", edge(taken=Reply.of(200)), "turn 200 into 303"),
    "S3 refuses a part": Row("direct-parts", asking(PUT_AT_STORE, refuse(403)), AT_S3),
    "parts are refused": Row("direct-parts", asking(DIRECT, refuse(500)), IN_LOG),
    "parts lead nowhere": Row("direct-parts", on(DIRECT, no_url), "Location"),
    "S3 breaks a PUT off": Row("direct", cut(PUT_AT_STORE), AT_S3),
    "a direct upload is refused": Row("direct", asking(DIRECT, refuse(500)), IN_LOG),
    "a direct upload leads elsewhere": Row("direct", on(DIRECT, ELSEWHERE), "Location"),
    "a direct upload leads nowhere": Row("direct", on(DIRECT, no_url), "Location"),
    "a redirect fails": before_s3("redirect", on(BLOB_HEAD, instead(500)), IN_LOG),
    "a large blob is refused": Row(
        "redirect", capped(1_000_000), "`--only sizes` finds", large=True
    ),
    "blobs are out of reach": Row("bytes", on(IS_BLOB, instead(307, Location=NOWHERE)), AT_S3),
    "chunks are out of reach": Row("chunks", on(IS_BLOB, instead(307, Location=NOWHERE)), AT_S3),
    "drops Authorization": Row("range", on(IS_BLOB, instead(401)), "drop Authorization"),
    "fails for %2F": Row("paths", asking(lambda a: "%2F" in a.path, refuse(500)), IN_LOG),
    "the door fails": Row("version", on(IS_V2, instead(500)), IN_LOG),
    "the door is busy": Row("version", on(IS_V2, instead(429, Retry_After="0")), THROTTLED),
    "the realm fails": Row("challenge", asking(REALM, refuse(502)), IN_LOG),
    "no tokens for a firewall's sake": Row("token", asking(TOKEN, refuse(403)), REFUSED),
    "fails for whom it doesn't know": Row("refusal", asking(has_no_password, refuse(500)), IN_LOG),
    "lists are throttled": Row("scratch", on(TAGS, instead(429, Retry_After="0")), THROTTLED),
    "a firewall refuses POST": Row(
        "location", asking(method("POST", has="/blobs/"), refuse(403)), REFUSED
    ),
    "an upload leads elsewhere": Row("upload", on(method("POST"), ELSEWHERE), "Location"),
    "may not push": Row("upload", on(method("PUT"), instead(403, DENIED)), "docs/access.md"),
    "a wrong digest fails": Row("wrong-digest", on(empty_put, instead(500)), IN_LOG),
    "a wrong digest is an error of another's": Row(
        "wrong-digest", on(empty_put, instead(400)), "errors on as they are"
    ),
    "a status fails": Row("resume", Break(on_reply=lost), IN_LOG),
    "large bodies fail": Row(
        "sizes", asking(lambda a: len(a.body) > 1_000_000, refuse(502)), IN_LOG
    ),
    "fails for what isn't there": Row(
        "no-leak", on(lambda a: "not-there" in a.target, instead(500)), IN_LOG
    ),
}
"""A failure for another reason: the check's own advice would be wrong."""
