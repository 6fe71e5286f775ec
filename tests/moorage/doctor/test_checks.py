"""Every check of `moorage doctor` can fail and advise: for each, there is a broken gateway."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.checks import blobs as doctor_checks_blobs
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.findings import Status
from tests.moorage.doctor.broken_gateway import (
    STORE,
    Break,
    MemoryRegistry,
    Reply,
    SentRequest,
    run_broken,
    visit_to,
)
from tests.moorage.doctor.gateway_breaks import (
    absolute_without_tls,
    as_text,
    asking,
    boast,
    body,
    capped,
    corrupt,
    cut,
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

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorage.doctor.checklist import CheckResult

CHALLENGE = "WWW-Authenticate"
NOWHERE = "http://127.0.0.1:1/bucket"
IN_LOG, THROTTLED, REFUSED = "the function's log", "throttling", "firewall"
AT_S3 = "the URL at S3 fails"
NETWORK = "the network from here to the registry"
IS_BLOB = method("GET", has="/blobs/sha256")
IS_STORED_BLOB = method("GET", has=STORE)
IS_V2 = method("GET", has="/v2/")
BLOB_HEAD, MANIFEST_HEAD = method("HEAD", has="/blobs/"), method("HEAD", has="/manifests/")
AT_STORE = method("HEAD", has=STORE)
TOKEN = method("POST", has="_token")
TAGS = method("GET", has="/tags/")
DENIED = b'{"errors": [{"code": "DENIED", "message": "this login may not do that here"}]}'


@dataclass(frozen=True)
class Row:
    """What is broken, the check that must fail for it, and a part of its advice."""

    check: str
    broken: Break
    redirecting: bool = False
    large: bool = False
    says: str = ""


def comes_with(authorization: str) -> Callable[[SentRequest], bool]:
    """Choose requests by their token."""
    return lambda sent: sent.headers.get("Authorization") == authorization


def lost(sent: SentRequest, reply: Reply) -> None:
    """Fail for an upload whose connection broke."""
    if sent.method == "GET" and sent.state.get("cut") == sent.path:
        instead(500)(reply)


BROKEN = {
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
    "short tokens": Row("token", on(TOKEN, fields(expires_in=10))),
    "no tokens": Row("token", on(TOKEN, instead(200, b"{}"))),
    "void tokens": Row("token", on(TOKEN, fields(token="void"))),  # noqa: S106
    "grants less": Row(
        "token",
        on(TOKEN, fields(scope="repository:team/grants-less:pull")),
        says="moorage grant",
    ),
    "knows everybody": Row("refusal", asking(TOKEN, everybody)),
    "expired Date": Row(
        "clock", on(IS_V2, header("Date", "Wed, 01 Jan 2020 00:00:00 GMT")), says="NTP"
    ),
    "has tags already": Row("scratch", on(TAGS, instead(200, b'{"tags": ["latest"]}'))),
    "leads to another host": Row("location", on(method("POST", "PATCH", "PUT"), elsewhere)),
    "leads to another port": Row("location", on(method("PUT"), absolute_without_tls)),
    "leads nowhere": Row("location", on(method("PATCH"), header("Location", None))),
    "no digest": Row("upload", on(method("PUT"), header("Docker-Content-Digest", None))),
    "loses the query": Row("upload", asking(method("PUT"), lose_query)),
    "tells a wrong Range": Row("chunks", on(method("PATCH"), off_by_one)),
    "takes a chunk twice": Row(
        "chunks",
        asking(lambda sent: sent.headers.get("Content-Range") == "0-99999", take_again),
    ),
    "needs a length": Row("streamed", asking(lambda sent: sent.chunked, refuse(411))),
    "knows no chunked bodies": Row(
        "streamed", asking(lambda sent: sent.chunked, refuse(501)), says="moorage proxy"
    ),
    "fails for a wrong digest": Row(
        "wrong-digest", on(lambda a: a.method == "PUT" and not a.body, instead(500))
    ),
    "takes a wrong digest": Row(
        "wrong-digest",
        on(lambda a: a.method == "PUT" and not a.body, instead(201)),
        says="must not be used",
    ),
    "loses a cut chunk": Row("resume", Break(on_reply=boast)),
    "takes 1 MB": Row("sizes", capped(1_000_000), says="WAF"),
    "corrupts a byte": Row("bytes", on(IS_BLOB, body(corrupt))),
    "gunzips": Row("bytes", on(IS_BLOB, body(gunzip)), says="binaryMediaTypes"),
    "packs": Row(
        "bytes",
        on(lambda a: IS_BLOB(a) and "gzip" in a.headers.get("Accept-Encoding", ""), zipped),
    ),
    "guesses text by Accept": Row("accept", Break(on_reply=as_text)),
    "needs an Accept": Row(
        "accept", asking(lambda a: IS_BLOB(a) and "Accept" not in a.headers, refuse(406))
    ),
    "drops Range": Row("range", asking(IS_BLOB, without("Range"))),
    "wrong Content-Range": Row("range", on(IS_BLOB, header("Content-Range", "bytes 0-1/2"))),
    "follows redirects": Row("redirect", Break(on_reply=follow_redirects), large=True),
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
    "has every blob": Row("missing", on(BLOB_HEAD, instead(200))),
    "HTML errors": Row(
        "missing",
        on(IS_BLOB, instead(404, b"<html>Not Found</html>", Content_Type="text/html")),
    ),
    "errors of another code": Row("missing", on(IS_BLOB, instead(404, b'{"errors":["x"]}'))),
    "refuses what is encoded": Row("paths", Break(on_request=decode)),
    "fails for slashes": Row(
        "paths",
        asking(
            lambda a: a.path.endswith("/") and a.method == "GET" and len(a.path) > 4, refuse(404)
        ),
    ),
    "lies in a blob's HEAD": Row("blob-head", on(BLOB_HEAD, length("7"))),
    "says 0 in a blob's HEAD": Row(
        "blob-head",
        on(BLOB_HEAD, length("0")),
        says="MOORAGE_HEAD_STRATEGY=redirect",
    ),
    "lies in S3's HEAD": Row("blob-head", on(AT_STORE, length("0")), redirecting=True),
    "lies in a manifest's HEAD": Row("manifest-head", on(MANIFEST_HEAD, length("7"))),
    "says 0 beside a digest": Row(
        "manifest-head",
        on(MANIFEST_HEAD, length("0")),
        says="MOORAGE_HEAD_STRATEGY=redirect",
    ),
    "strips the digest": Row(
        "manifest-head", on(method("HEAD"), header("Docker-Content-Digest", None))
    ),
    "a 204 with a length": Row("manifest-head", Break(on_reply=length_of_204), redirecting=True),
    "says 0 to every HEAD": Row(
        "head-strategy", Break(on_reply=zero_everywhere), says="MOORAGE_HEAD_STRATEGY=redirect"
    ),
    "rewrites JSON": Row("manifest", on(method("GET", has="/manifests/"), body(indented))),
    "another type": Row(
        "manifest", on(method("GET", has="/manifests/"), header("Content-Type", "text/plain"))
    ),
    "no Link": Row("tags", on(TAGS, header("Link", None))),
    "Link to another host": Row(
        "tags",
        on(TAGS, header("Link", '<http://r.invalid/v2/x>; rel="next"')),
    ),
    "Link past the domain": Row("tags", on(TAGS, header("Link", '</prod/x>; rel="next"'))),
    "no referrers": Row("referrers", on(method("GET", has="/referrers/"), fields(manifests=[]))),
    "no OCI-Subject": Row("referrers", on(method("PUT"), header("OCI-Subject", None))),
    "ignores mounts": Row("mount", asking(method("POST", has="mount="), lose_query)),
    "tells what is there": Row(
        "no-leak",
        on(lambda a: "not-there" in a.target, instead(404)),
    ),
    "lets everybody see": Row("no-leak", on(lambda a: "/tags/" in a.target, instead(200, b"[]"))),
    "deletes nothing": Row("delete", asking(method("DELETE"), lambda _: Reply.of(202))),
    "keeps what was deleted": Row(
        "cleanup", asking(method("DELETE"), lambda _: Reply.of(202)), says="delete what is left"
    ),
    "refuses to delete": Row("cleanup", asking(method("DELETE"), refuse(405))),
}
"""A gateway that breaks what the check looks at."""

FAILING = {
    "a pull is cut": Row("bytes", cut(method("GET", has="/blobs/sha256")), says=NETWORK),
    "a refusal is cut": Row("refusal", cut(comes_with("Bearer x.y.z")), says=NETWORK),
    "a push is cut": Row("upload", cut(method("PUT")), says=NETWORK),
    "a stream is cut": Row("streamed", cut(lambda sent: sent.chunked), says="moorage proxy"),
    "S3 refuses HEAD": Row(
        "blob-head", asking(AT_STORE, refuse(403)), redirecting=True, says=AT_S3
    ),
    "S3 knows no such region": Row(
        "blob-head", asking(AT_STORE, refuse(400)), redirecting=True, says=AT_S3
    ),
    "S3 leads to the bucket's region": Row(
        "blob-head",
        on(AT_STORE, instead(307, x_amz_bucket_region="eu-south-2")),
        redirecting=True,
        says="the bucket is in eu-south-2",
    ),
    "S3 is slow": Row(
        "blob-head", asking(AT_STORE, refuse(503)), redirecting=True, says="try again"
    ),
    "S3 is out of reach": Row(
        "blob-head",
        on(BLOB_HEAD, header("Location", NOWHERE)),
        redirecting=True,
        says="the network from here to S3",
    ),
    "a blob's HEAD is lost": Row("blob-head", on(BLOB_HEAD, instead(404)), says=IN_LOG),
    "a blob's HEAD fails": Row(
        "blob-head", on(BLOB_HEAD, instead(500, x_amzn_RequestId="r-1")), says="request_id r-1"
    ),
    "a redirect is without TLS": Row(
        "blob-head",
        on(BLOB_HEAD, header("Location", "http://s3.invalid/")),
        redirecting=True,
        says="must be https",
    ),
    "a manifest's HEAD fails": Row("manifest-head", on(MANIFEST_HEAD, instead(500)), says=IN_LOG),
    "a manifest's HEAD is lost": Row("manifest-head", on(MANIFEST_HEAD, instead(404)), says=IN_LOG),
    "the strategy's HEAD fails": Row("head-strategy", on(MANIFEST_HEAD, instead(500)), says=IN_LOG),
    "the strategy's HEAD is lost": Row(
        "head-strategy", on(MANIFEST_HEAD, instead(404)), says="must pass HEAD on"
    ),
    "the strategy's blob fails": Row("head-strategy", on(BLOB_HEAD, instead(502)), says=IN_LOG),
    "S3 refuses a redirect": Row(
        "redirect", asking(AT_STORE, refuse(403)), redirecting=True, says=AT_S3
    ),
    "a redirect fails": Row("redirect", on(BLOB_HEAD, instead(500)), redirecting=True, says=IN_LOG),
    "a large blob is refused": Row(
        "redirect", capped(1_000_000), large=True, says="`--only sizes` finds"
    ),
    "blobs are out of reach": Row("bytes", on(IS_BLOB, instead(307, Location=NOWHERE)), says=AT_S3),
    "chunks are out of reach": Row(
        "chunks", on(IS_BLOB, instead(307, Location=NOWHERE)), says=AT_S3
    ),
    "drops Authorization": Row("range", on(IS_BLOB, instead(401)), says="drop Authorization"),
    "fails for %2F": Row("paths", asking(lambda a: "%2F" in a.path, refuse(500)), says=IN_LOG),
    "the door fails": Row("version", on(IS_V2, instead(500)), says=IN_LOG),
    "the door is busy": Row("version", on(IS_V2, instead(429, Retry_After="0")), says=THROTTLED),
    "the realm fails": Row(
        "challenge", asking(method("GET", has="/v2/_token"), refuse(502)), says=IN_LOG
    ),
    "no tokens for a firewall's sake": Row("token", asking(TOKEN, refuse(403)), says=REFUSED),
    "fails for whom it doesn't know": Row(
        "refusal",
        asking(lambda a: TOKEN(a) and b"not-a-password" in a.body, refuse(500)),
        says=IN_LOG,
    ),
    "lists are throttled": Row("scratch", on(TAGS, instead(429, Retry_After="0")), says=THROTTLED),
    "a firewall refuses POST": Row(
        "location", asking(method("POST", has="/blobs/"), refuse(403)), says=REFUSED
    ),
    "an upload leads elsewhere": Row("upload", on(method("POST"), elsewhere), says="Location"),
    "may not push": Row("upload", on(method("PUT"), instead(403, DENIED)), says="docs/access.md"),
    "a wrong digest fails": Row(
        "wrong-digest", on(lambda a: a.method == "PUT" and not a.body, instead(500)), says=IN_LOG
    ),
    "a wrong digest is an error of another's": Row(
        "wrong-digest",
        on(lambda a: a.method == "PUT" and not a.body, instead(400)),
        says="errors on as they are",
    ),
    "a status fails": Row("resume", Break(on_reply=lost), says=IN_LOG),
    "large bodies fail": Row(
        "sizes", asking(lambda a: len(a.body) > 1_000_000, refuse(502)), says=IN_LOG
    ),
    "fails for what isn't there": Row(
        "no-leak", on(lambda a: "not-there" in a.target, instead(500)), says=IN_LOG
    ),
}
"""A failure for another reason: the check's own advice would be wrong."""

ROWS = BROKEN | FAILING


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_broken_gateway_fails_the_check_and_the_advice_fits(
    name: str,
    counting: MemoryRegistry,
    redirecting: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check fails; where the reason is another one, no setting is named that isn't it."""
    monkeypatch.setattr(doctor_checks_uploads, "_WAIT_SECONDS", 0)
    row = ROWS[name]
    found = found_by(row, redirecting if row.redirecting else counting, f"row {name}")
    assert found.finding.status is Status.FAIL, found.finding
    assert found.todo
    assert row.says in found.todo
    assert name in BROKEN or "MOORAGE_HEAD_STRATEGY" not in found.todo


def found_by(row: Row, registry: MemoryRegistry, name: str) -> CheckResult:
    """Return what the row's check finds at the broken gateway."""
    with run_broken(registry, row.broken) as url:
        keep = row.check != "cleanup"
        visit = visit_to(registry, name, url=url, large=row.large, keep=keep)
        only = frozenset({"upload" if row.check == "cleanup" else row.check})
        results = by_name(doctor.examine(visit, only))
    return results[row.check]


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    """Return results by the names of their checks."""
    return {result.check.name: result for result in results}


def test_every_check_is_made_to_fail() -> None:
    """There is a row for each."""
    assert {row.check for row in BROKEN.values()} == {check.name for check in CHECKS}


def test_a_check_that_needs_a_failed_one_is_skipped(counting: MemoryRegistry) -> None:
    """With a broken challenge nothing after it is reported as broken."""
    with run_broken(counting, BROKEN["strips the challenge"].broken) as url:
        results = doctor.examine(visit_to(counting, "blocked", url=url))
    failed = [result.check.name for result in results if result.finding.status is Status.FAIL]
    assert failed == ["challenge"]
    assert results[-1].check.name == "cleanup"


EVERYTHING = frozenset(check.name for check in CHECKS)
ABOUT_HEAD = frozenset({"redirect", "range", "blob-head", "manifest-head", "head-strategy"})


@pytest.mark.parametrize("strategy", ["body", "redirect"])
def test_an_unbroken_gateway_passes_every_check(
    strategy: str, counting: MemoryRegistry, redirecting: MemoryRegistry
) -> None:
    """The gateway that breaks things breaks nothing by itself: every check passes."""
    registry = counting if strategy == "body" else redirecting
    # The bodies of all sizes are for tests/moorage/local/test_run_real.py.
    names = EVERYTHING - {"sizes", "cleanup"} if strategy == "body" else ABOUT_HEAD
    with run_broken(registry, Break()) as url:
        visit = visit_to(registry, f"whole {strategy}", url=url, large=strategy == "body")
        results = doctor.examine(visit, names)
    wrong = [result for result in results if result.finding.status is not Status.OK]
    assert not wrong
    assert visit.facts["head_strategy"] == strategy


def test_a_presigned_url_that_works_for_another_method_is_a_failure(
    redirecting: MemoryRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine it is none: an emulator looks at no signature."""
    lax = on(method("GET", has=STORE), instead(200))
    found = {}
    for here in (True, False):
        monkeypatch.setattr(doctor_checks_blobs, "is_loopback", lambda _, here=here: here)
        with run_broken(redirecting, lax) as url:
            visit = visit_to(redirecting, f"lax {here}", url=url)
            results = doctor.examine(visit, frozenset({"redirect"}))
        found[here] = by_name(results)["redirect"].finding
    assert found[True].status is Status.OK
    assert "emulator" in found[True].seen
    assert found[False].status is Status.FAIL
    assert "good for GET too" in found[False].seen


def test_a_smaller_size_limit_is_a_warning_with_a_chunk_size(counting: MemoryRegistry) -> None:
    """A gateway that takes 3 MB can be pushed through, with chunks that fit."""
    with run_broken(counting, capped(3_000_000)) as url:
        visit = visit_to(counting, "capped", url=url)
        results = doctor.examine(visit, frozenset({"sizes"}))
    found = by_name(results)["sizes"]
    assert found.finding.status is Status.WARN
    assert f"--chunk-size {2 * 1024 * 1024}" in found.todo


@pytest.mark.parametrize("date", [None, "yesterday"])
def test_a_date_that_is_missing_or_malformed_is_a_warning(
    counting: MemoryRegistry, date: str | None
) -> None:
    """Nothing is known of the registry's clock then."""
    with run_broken(counting, on(IS_V2, header("Date", date))) as url:
        results = doctor.examine(visit_to(counting, f"clock {date}", url=url), frozenset({"clock"}))
    assert by_name(results)["clock"].finding.status is Status.WARN
