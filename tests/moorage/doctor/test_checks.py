"""Every check of `moorage doctor` can fail and advise: for each, there is a broken gateway."""

from __future__ import annotations

import pytest

from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.checks import blobs as doctor_checks_blobs
from moorage.doctor.checks import direct as doctor_checks_direct
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.findings import Status
from tests.moorage.doctor.broken_gateway import (
    STORE,
    Break,
    MemoryRegistry,
    Reply,
    SentRequest,
    examined,
    run_broken,
    visit_to,
)
from tests.moorage.doctor.gateway_breaks import (
    BROKEN,
    FAILING,
    IS_V2,
    PUT_AT_STORE,
    capped,
    header,
    instead,
    method,
    on,
)

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
    registry = redirecting if row.redirecting else counting
    with run_broken(registry, row.broken) as url:
        keep = row.check != "cleanup"
        visit = visit_to(registry, f"row {name}", url=url, large=row.large, keep=keep)
        found = examined(visit, row.check if keep else "upload")[row.check]
    assert found.finding.status is Status.FAIL, found.finding
    assert found.todo
    assert row.says in found.todo
    assert name in BROKEN or "MOORAGE_HEAD_STRATEGY" not in found.todo


def test_every_check_has_a_gateway_that_fails_it() -> None:
    """There is a row for each."""
    assert {row.check for row in BROKEN.values()} == {check.name for check in CHECKS}


def test_a_check_that_needs_a_failed_one_is_skipped(counting: MemoryRegistry) -> None:
    """With a broken challenge nothing after it is reported as broken."""
    with run_broken(counting, BROKEN["strips the challenge"].broken) as url:
        results = doctor.examine(visit_to(counting, "blocked", url=url))
    failed = [result.check.name for result in results if result.finding.status is Status.FAIL]
    assert failed == ["challenge"]
    assert results[-1].check.name == "cleanup"


EVERYTHING = frozenset(check.name for check in CHECKS) - {"edge-put", "edge-get"}
"""But for the checks of an edge, which no gateway here is: see tests/moorage/edge."""

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
            found[here] = examined(visit, "redirect")["redirect"].finding
    assert found[True].status is Status.OK
    assert "emulator" in found[True].seen
    assert found[False].status is Status.FAIL
    assert "good for GET too" in found[False].seen


def refusing_the_second_put(sent: SentRequest) -> Reply | None:
    """Refuse what comes after the other bytes: the PUT that lacks a signed header."""
    if not PUT_AT_STORE(sent):
        return None
    sent.state["puts"] = sent.state.get("puts", 0) + 1
    return Reply.of(403) if sent.state["puts"] == 2 else None


LAX = Break(on_request=lambda sent: Reply.of(200) if PUT_AT_STORE(sent) else None)


@pytest.mark.parametrize(
    ("check", "here", "broken", "status", "seen"),
    [
        ("direct", True, Break(), Status.OK, "an emulator"),
        ("direct", False, Break(on_request=refusing_the_second_put), Status.OK, "403 where a"),
        ("direct", False, Break(), Status.FAIL, "without the signed If-None-Match must be 403"),
        ("direct-parts", True, Break(), Status.OK, "an emulator"),
        ("direct-parts", False, Break(), Status.OK, "403 for another length"),
        ("direct-parts", False, LAX, Status.FAIL, "a part of another length must be 403"),
    ],
)
def test_a_put_unlike_its_signature_must_be_refused(  # noqa: PLR0913 - a row's parts
    *,
    check: str,
    here: bool,
    broken: Break,
    status: Status,
    seen: str,
    counting: MemoryRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On this machine no such PUT is sent: an emulator checks no signature."""
    monkeypatch.setattr(doctor_checks_direct, "is_loopback", lambda _: here)
    with run_broken(counting, broken) as url:
        visit = visit_to(counting, f"{check} {here} {status}", url=url)
        found = examined(visit, check)[check].finding
    assert found.status is status
    assert seen in found.seen


@pytest.mark.parametrize(
    ("name", "check", "broken", "todo"),
    [
        # A gateway that takes 3 MB can be pushed through, with chunks that fit.
        ("small bodies", "sizes", capped(3_000_000), f"--chunk-size {2 * 1024 * 1024}"),
        # Nothing is known of the registry's clock then.
        ("no date", "clock", on(IS_V2, header("Date", None)), ""),
        ("odd date", "clock", on(IS_V2, header("Date", "yesterday")), ""),
    ],
)
def test_a_smaller_size_limit_or_an_unreadable_date_is_a_warning(
    counting: MemoryRegistry, name: str, check: str, broken: Break, todo: str
) -> None:
    """The advice has what helps."""
    with run_broken(counting, broken) as url:
        found = examined(visit_to(counting, name, url=url), check)[check]
    assert found.finding.status is Status.WARN
    assert todo in found.todo
