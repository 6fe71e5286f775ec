"""Every check of `moorage doctor` can fail: for each, a gateway that breaks what it looks at."""

from __future__ import annotations

import pytest

from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.findings import Status
from tests.moorage.doctor.broken_gateway import STORE, Break, Running, Told, run_broken
from tests.moorage.doctor.broken_gateway_rows import (
    IS_BLOB,
    IS_STORED_BLOB,
    IS_V2,
    Row,
    found_by,
    visit_to,
)
from tests.moorage.doctor.broken_gateway_tricks import (
    absolute_without_tls,
    as_text,
    asking,
    boast,
    body,
    capped,
    corrupt,
    decode,
    elsewhere,
    everybody,
    fields,
    follow_redirects,
    gunzip,
    header,
    indented,
    instead,
    length,
    length_of_204,
    lose_query,
    method,
    off_by_one,
    on,
    refuse,
    take_again,
    without,
    zero_everywhere,
    zipped,
)

CHALLENGE = "WWW-Authenticate"

ROWS = {
    "hangs up": Row("reach", Break(hang_up=True)),
    "wrong stage": Row(
        "version", on(IS_V2, instead(403, b'{"message":"Forbidden"}')), says="stage `v2`"
    ),
    "no version": Row("version", on(IS_V2, header("Docker-Distribution-Api-Version", None))),
    "strips the challenge": Row("challenge", on(IS_V2, header(CHALLENGE, None))),
    "renames the challenge": Row(
        "challenge",
        on(
            IS_V2,
            instead(
                401,
                x_amzn_Remapped_WWW_Authenticate="Bearer",
                Docker_Distribution_Api_Version="registry/2.0",
            ),
        ),
    ),
    "asks for Basic": Row("challenge", on(IS_V2, header(CHALLENGE, 'Basic realm="x"'))),
    "realm without TLS": Row(
        "challenge",
        on(IS_V2, header(CHALLENGE, 'Bearer realm="http://r.invalid/_token",service="r"')),
    ),
    "realm of nobody": Row(
        "challenge", asking(method("GET", has="/v2/_token"), refuse(404)), says="PublicUrl"
    ),
    "realm that is no URL": Row(
        "challenge", on(IS_V2, header(CHALLENGE, 'Bearer realm="http://[x",service="r"'))
    ),
    "short tokens": Row("token", on(method("POST", has="_token"), fields(expires_in=10))),
    "no tokens": Row("token", on(method("POST", has="_token"), instead(200, b"{}"))),
    "void tokens": Row("token", on(method("POST", has="_token"), fields(token="void"))),  # noqa: S106
    "grants less": Row(
        "token",
        on(method("POST", has="_token"), fields(scope="repository:team/grants-less:pull")),
        says="moorage grant",
    ),
    "knows everybody": Row("refusal", asking(method("POST", has="_token"), everybody)),
    "expired Date": Row(
        "clock", on(IS_V2, header("Date", "Wed, 01 Jan 2020 00:00:00 GMT")), says="NTP"
    ),
    "has tags already": Row(
        "scratch", on(method("GET", has="/tags/"), instead(200, b'{"tags": ["latest"]}'))
    ),
    "leads to another host": Row("location", on(method("POST", "PATCH", "PUT"), elsewhere)),
    "leads to another port": Row("location", on(method("PUT"), absolute_without_tls)),
    "leads nowhere": Row("location", on(method("PATCH"), header("Location", None))),
    "no digest": Row("upload", on(method("PUT"), header("Docker-Content-Digest", None))),
    "loses the query": Row("upload", asking(method("PUT"), lose_query)),
    "tells a wrong Range": Row("chunks", on(method("PATCH"), off_by_one)),
    "takes a chunk twice": Row(
        "chunks",
        asking(lambda asked: asked.headers.get("Content-Range") == "0-99999", take_again),
    ),
    "needs a length": Row("streamed", asking(lambda asked: asked.chunked, refuse(411))),
    "knows no chunked bodies": Row(
        "streamed", asking(lambda asked: asked.chunked, refuse(501)), says="moorage proxy"
    ),
    "fails for a wrong digest": Row(
        "wrong-digest", on(lambda a: a.method == "PUT" and not a.body, instead(500))
    ),
    "takes a wrong digest": Row(
        "wrong-digest",
        on(lambda a: a.method == "PUT" and not a.body, instead(201)),
        says="must not be used",
    ),
    "loses a cut chunk": Row("resume", Break(tell=boast)),
    "takes 1 MB": Row("sizes", capped(1_000_000), says="WAF"),
    "corrupts a byte": Row("bytes", on(IS_BLOB, body(corrupt))),
    "gunzips": Row("bytes", on(IS_BLOB, body(gunzip)), says="binaryMediaTypes"),
    "packs": Row(
        "bytes",
        on(lambda a: IS_BLOB(a) and "gzip" in a.headers.get("Accept-Encoding", ""), zipped),
    ),
    "guesses text by Accept": Row("accept", Break(tell=as_text)),
    "needs an Accept": Row(
        "accept", asking(lambda a: IS_BLOB(a) and "Accept" not in a.headers, refuse(406))
    ),
    "drops Range": Row("range", asking(IS_BLOB, without("Range"))),
    "wrong Content-Range": Row("range", on(IS_BLOB, header("Content-Range", "bytes 0-1/2"))),
    "follows redirects": Row("redirect", Break(tell=follow_redirects), large=True),
    "S3 refuses": Row(
        "redirect", asking(lambda a: STORE in a.target, refuse(403)), redirecting=True
    ),
    "S3 drops Range": Row("redirect", asking(IS_STORED_BLOB, without("Range")), large=True),
    "redirects nowhere": Row(
        "redirect", on(method("HEAD"), header("Location", "nowhere")), redirecting=True
    ),
    "redirects without TLS": Row(
        "redirect", on(method("HEAD"), header("Location", "http://s3.invalid/")), redirecting=True
    ),
    "has every blob": Row("missing", on(method("HEAD", has="/blobs/"), instead(200))),
    "HTML errors": Row(
        "missing",
        on(IS_BLOB, instead(404, b"<html>Not Found</html>", Content_Type="text/html")),
    ),
    "errors of another code": Row("missing", on(IS_BLOB, instead(404, b'{"errors":["x"]}'))),
    "refuses what is encoded": Row("paths", Break(ask=decode)),
    "fails for slashes": Row(
        "paths",
        asking(
            lambda a: a.path.endswith("/") and a.method == "GET" and len(a.path) > 4, refuse(404)
        ),
    ),
    "lies in a blob's HEAD": Row("blob-head", on(method("HEAD", has="/blobs/"), length("7"))),
    "says 0 in a blob's HEAD": Row(
        "blob-head",
        on(method("HEAD", has="/blobs/"), length("0")),
        says="MOORAGE_HEAD_STRATEGY=redirect",
    ),
    "lies in S3's HEAD": Row(
        "blob-head", on(method("HEAD", has=STORE), length("0")), redirecting=True
    ),
    "lies in a manifest's HEAD": Row(
        "manifest-head", on(method("HEAD", has="/manifests/"), length("7"))
    ),
    "says 0 beside a digest": Row(
        "manifest-head",
        on(method("HEAD", has="/manifests/"), length("0")),
        says="MOORAGE_HEAD_STRATEGY=redirect",
    ),
    "strips the digest": Row(
        "manifest-head", on(method("HEAD"), header("Docker-Content-Digest", None))
    ),
    "a 204 with a length": Row("manifest-head", Break(tell=length_of_204), redirecting=True),
    "says 0 to every HEAD": Row(
        "head-strategy", Break(tell=zero_everywhere), says="MOORAGE_HEAD_STRATEGY=redirect"
    ),
    "rewrites JSON": Row("manifest", on(method("GET", has="/manifests/"), body(indented))),
    "another type": Row(
        "manifest", on(method("GET", has="/manifests/"), header("Content-Type", "text/plain"))
    ),
    "no Link": Row("tags", on(method("GET", has="/tags/"), header("Link", None))),
    "Link to another host": Row(
        "tags",
        on(method("GET", has="/tags/"), header("Link", '<http://r.invalid/v2/x>; rel="next"')),
    ),
    "Link past the domain": Row(
        "tags", on(method("GET", has="/tags/"), header("Link", '</prod/x>; rel="next"'))
    ),
    "no referrers": Row("referrers", on(method("GET", has="/referrers/"), fields(manifests=[]))),
    "no OCI-Subject": Row("referrers", on(method("PUT"), header("OCI-Subject", None))),
    "ignores mounts": Row("mount", asking(method("POST", has="mount="), lose_query)),
    "tells what is there": Row(
        "no-leak",
        on(lambda a: "not-there" in a.target, instead(404)),
    ),
    "lets everybody see": Row("no-leak", on(lambda a: "/tags/" in a.target, instead(200, b"[]"))),
    "deletes nothing": Row("delete", asking(method("DELETE"), lambda _: Told.of(202))),
    "keeps what was deleted": Row(
        "cleanup", asking(method("DELETE"), lambda _: Told.of(202)), says="delete what is left"
    ),
    "refuses to delete": Row("cleanup", asking(method("DELETE"), refuse(405))),
}


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_is_broken_is_found(name: str, counting: Running, redirecting: Running) -> None:
    """The check that looks at it fails, and what to do about it is told."""
    row = ROWS[name]
    found = found_by(row, redirecting if row.redirecting else counting, f"broken {name}")
    assert found.finding.status is Status.FAIL, found.finding
    assert row.says in found.todo
    assert found.todo


def test_every_check_is_made_to_fail() -> None:
    """There is no check that nobody has seen fail."""
    assert {row.check for row in ROWS.values()} == {check.name for check in CHECKS}


def test_what_needs_a_broken_thing_is_not_tried(counting: Running) -> None:
    """Where the door is broken nothing behind it is called broken."""
    with run_broken(counting, ROWS["strips the challenge"].broken) as url:
        results = doctor.examine(visit_to(url, counting, "blocked"))
    failed = [result.check.name for result in results if result.finding.status is Status.FAIL]
    assert failed == ["challenge"]
    assert results[-1].check.name == "cleanup"
