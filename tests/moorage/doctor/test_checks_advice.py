"""What `moorage doctor` tells to do about each status, and what it doesn't call broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.checks import blobs as doctor_checks_blobs
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.findings import Status
from tests.moorage.doctor.broken_gateway import (
    STORE,
    Asked,
    Break,
    Running,
    Told,
    run_broken,
)
from tests.moorage.doctor.broken_gateway_rows import IS_BLOB, IS_V2, Row, found_by, visit_to
from tests.moorage.doctor.broken_gateway_tricks import (
    asking,
    capped,
    cut,
    elsewhere,
    header,
    instead,
    method,
    on,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from moorage.doctor.checklist import CheckResult


NOWHERE = "http://127.0.0.1:1/bucket"
IN_LOG, THROTTLED, REFUSED = "the function's log", "throttling", "firewall"
AT_S3 = "the URL at S3 fails"
NETWORK = "the network from here to the registry"
BLOB_HEAD, MANIFEST_HEAD = method("HEAD", has="/blobs/"), method("HEAD", has="/manifests/")
AT_STORE = method("HEAD", has=STORE)
TOKEN = method("POST", has="_token")
DENIED = b'{"errors": [{"code": "DENIED", "message": "this login may not do that here"}]}'


def comes_with(authorization: str) -> Callable[[Asked], bool]:
    """Choose requests by their token."""
    return lambda asked: asked.headers.get("Authorization") == authorization


def lost(asked: Asked, told: Told) -> None:
    """Fail for an upload whose connection broke."""
    if asked.method == "GET" and asked.state.get("cut") == asked.path:
        instead(500)(told)


ROWS = {
    "a pull is cut": Row("bytes", cut(method("GET", has="/blobs/sha256")), says=NETWORK),
    "a refusal is cut": Row("refusal", cut(comes_with("Bearer x.y.z")), says=NETWORK),
    "a push is cut": Row("upload", cut(method("PUT")), says=NETWORK),
    "a stream is cut": Row("streamed", cut(lambda asked: asked.chunked), says="moorage proxy"),
    "S3 refuses": Row("blob-head", asking(AT_STORE, refuse(403)), redirecting=True, says=AT_S3),
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
    "lists are throttled": Row(
        "scratch", on(method("GET", has="/tags/"), instead(429, Retry_After="0")), says=THROTTLED
    ),
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
    "a status fails": Row("resume", Break(tell=lost), says=IN_LOG),
    "large bodies fail": Row(
        "sizes", asking(lambda a: len(a.body) > 1_000_000, refuse(502)), says=IN_LOG
    ),
    "fails for what isn't there": Row(
        "no-leak", on(lambda a: "not-there" in a.target, instead(500)), says=IN_LOG
    ),
}
"""What fails has nothing to do with what the check looks at: so what the check's row says is wrong.
"""


@pytest.mark.parametrize("name", sorted(ROWS))
def test_what_to_do_is_about_what_failed(
    name: str, counting: Running, redirecting: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is sent to a setting that has nothing to do with it."""
    monkeypatch.setattr(doctor_checks_uploads, "_WAIT_SECONDS", 0)
    row = ROWS[name]
    found = found_by(row, redirecting if row.redirecting else counting, f"advice {name}")
    assert found.finding.status is Status.FAIL, found.finding
    assert row.says in found.todo
    assert "MOORAGE_HEAD_STRATEGY" not in found.todo


EVERYTHING = frozenset(check.name for check in CHECKS)
ABOUT_HEAD = frozenset({"redirect", "range", "blob-head", "manifest-head", "head-strategy"})


@pytest.mark.parametrize("strategy", ["body", "redirect"])
def test_what_is_whole_passes(strategy: str, counting: Running, redirecting: Running) -> None:
    """The gateway that breaks things breaks nothing that it isn't told to."""
    registry = counting if strategy == "body" else redirecting
    # One body of each size is enough for a test: test_run.py sends them.
    names = EVERYTHING - {"sizes", "cleanup"} if strategy == "body" else ABOUT_HEAD
    with run_broken(registry, Break()) as url:
        visit = visit_to(url, registry, f"whole {strategy}", large=strategy == "body")
        results = doctor.examine(visit, names)
    wrong = {result.check.name: result.finding for result in results if not _good(result)}
    assert not wrong
    assert visit.facts["head_strategy"] == strategy


def _good(result: CheckResult) -> bool:
    return result.finding.status is Status.OK


def test_a_url_that_opens_more_is_a_failure(
    redirecting: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must be good for the one method that it was signed for; an emulator may be lax."""
    lax = on(method("GET", has=STORE), instead(200))
    found = {}
    for here in (True, False):
        monkeypatch.setattr(doctor_checks_blobs, "is_loopback", lambda _, here=here: here)
        with run_broken(redirecting, lax) as url:
            visit = visit_to(url, redirecting, f"lax {here}")
            results = doctor.examine(visit, frozenset({"redirect"}))
        found[here] = next(r.finding for r in results if r.check.name == "redirect")
    assert found[True].status is Status.OK
    assert "emulator" in found[True].seen
    assert found[False].status is Status.FAIL
    assert "good for GET too" in found[False].seen


def test_a_smaller_limit_is_a_smaller_chunk(counting: Running) -> None:
    """A gateway that takes 3 MB can be pushed through, with chunks that fit."""
    with run_broken(counting, capped(3_000_000)) as url:
        visit = visit_to(url, counting, "capped")
        results = doctor.examine(visit, frozenset({"sizes"}))
    found = next(result for result in results if result.check.name == "sizes")
    assert found.finding.status is Status.WARN
    assert f"--chunk-size {2 * 1024 * 1024}" in found.todo


@pytest.mark.parametrize(
    ("date", "status"),
    [(None, Status.WARN), ("yesterday", Status.WARN)],
)
def test_a_clock_that_is_not_told(counting: Running, date: str | None, status: Status) -> None:
    """Without a Date nothing is known of the clock."""
    with run_broken(counting, on(IS_V2, header("Date", date))) as url:
        results = doctor.examine(visit_to(url, counting, f"clock {date}"), frozenset({"clock"}))
    assert next(r for r in results if r.check.name == "clock").finding.status is status
