"""`moorage doctor` at registries without a fault: its report, its exit status, its cleanup."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from chalicelib.settings import HeadStrategy
from moorage.cli import main as cli
from moorage.common.http import registry_url
from moorage.doctor import report as doctor_report
from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.findings import Status
from moorage.doctor.visit import Visit
from moorage.doctor.wire import Wire
from tests.moorage.doctor.broken_gateway import MemoryRegistry, run_registry, visit_to

if TYPE_CHECKING:
    from moorage.doctor.checklist import CheckResult

REPOSITORY = "team/doctor"


def by_name(results: list[CheckResult]) -> dict[str, CheckResult]:
    """Return results by the names of their checks."""
    return {result.check.name: result for result in results}


def test_an_open_registry_passes_or_skips_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Checks that need a login, or --large, are skipped."""
    with run_registry(counts=True, strategy=HeadStrategy.BODY, closed=False) as here:
        assert cli.main(["doctor", here.url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    skipped = {"token", "refusal", "no-leak", "redirect"}
    expected = {check.name: "skip" if check.name in skipped else "ok" for check in CHECKS}
    assert {check["name"]: check["status"] for check in report["checks"]} == expected
    assert report["head_strategy"] == "body"
    assert report["seen"]["gateway_counts_head"] is True


@pytest.mark.parametrize(
    ("counts", "strategy", "status", "todo"),
    [
        (True, HeadStrategy.BODY, Status.OK, ""),
        (True, HeadStrategy.REDIRECT, Status.WARN, "MOORAGE_HEAD_STRATEGY=body"),
        (False, HeadStrategy.REDIRECT, Status.OK, ""),
        (False, HeadStrategy.BODY, Status.FAIL, "MOORAGE_HEAD_STRATEGY=redirect"),
    ],
)
def test_head_strategy_names_the_right_strategy(
    *, counts: bool, strategy: HeadStrategy, status: Status, todo: str
) -> None:
    """`body` where the gateway counts, else `redirect`; to set `redirect` is never a failure."""
    with run_registry(counts=counts, strategy=strategy, closed=False) as here:
        visit = Visit(Wire(registry_url(here.url)), REPOSITORY)
        found = by_name(doctor.examine(visit, frozenset({"head-strategy"})))["head-strategy"]
    assert found.finding.status is status
    assert todo in found.todo
    assert visit.facts["head_strategy"] == ("body" if counts else "redirect")


def test_a_table_is_printed_without_the_password(
    counting: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a row for each check that was done, and those that it needs."""
    assert counting.access is not None
    secret = counting.access.credential("table", "team/**:pull,push,delete")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{secret}\n"))
    arguments = ["--user", "me", "--password-stdin", "--repository", "team/table"]
    assert cli.main(["doctor", counting.url, *arguments, "--only", "missing"]) == 0
    output, errors = capsys.readouterr()
    rows = [line.split()[:2] for line in output.splitlines() if line.startswith("ok ")]
    names = ["reach", "version", "challenge", "token", "missing", "cleanup"]
    assert rows == [["ok", name] for name in names]
    assert "team/table" in output
    assert secret not in output + errors


def test_a_wrong_password_fails_and_skips_the_rest(
    counting: MemoryRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names the user, and not the password."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("moor_wrong"))
    assert cli.main(["doctor", counting.url, "--password-stdin", "--only", "upload"]) == 1
    output, _ = capsys.readouterr()
    assert "the password of 'moorage' is refused" in " ".join(output.split())
    assert "moor_wrong" not in output
    assert "needs token" in output


def test_no_password_fails_where_one_is_needed(
    counting: MemoryRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice is to give one."""
    assert cli.main(["doctor", counting.url, "--only", "token", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    token = next(check for check in report["checks"] if check["name"] == "token")
    assert token["status"] == "fail"
    assert "--password-stdin" in token["todo"]


def test_a_login_without_push_fails_and_the_advice_is_to_grant_it(counting: MemoryRegistry) -> None:
    """Uploads are then skipped."""
    visit = visit_to(counting, "puller", "team/**:pull")
    found = by_name(doctor.examine(visit, frozenset({"upload"})))
    assert found["token"].finding.status is Status.FAIL
    assert found["token"].finding.seen.startswith("no push in team/puller")
    assert "moorage grant" in found["token"].todo
    assert found["upload"].finding.status is Status.SKIP


def test_a_login_without_delete_is_a_warning(counting: MemoryRegistry) -> None:
    """The token check and the cleanup warn that something is left."""
    visit = visit_to(counting, "pusher", "team/**:pull,push")
    found = by_name(doctor.examine(visit, frozenset({"delete"})))
    statuses = {name: found[name].finding.status for name in ("token", "delete", "cleanup")}
    expected = {"token": Status.WARN, "delete": Status.SKIP, "cleanup": Status.WARN}
    assert statuses == expected
    assert "1 blobs" in found["cleanup"].finding.seen


@pytest.mark.parametrize("keep", [False, True])
def test_all_that_was_pushed_is_deleted_unless_keep_is_set(
    counting: MemoryRegistry, *, keep: bool
) -> None:
    """In both repositories: blobs and manifests."""
    visit = visit_to(counting, f"keeper {keep}", keep=keep)
    found = by_name(doctor.examine(visit, frozenset({"manifest", "mount"})))
    assert found["cleanup"].finding.status is (Status.SKIP if keep else Status.OK)
    places = [
        visit.v2(f"blobs/{visit.sample.digest}", name) for name in (visit.repository, visit.second)
    ]
    places.append(visit.v2("manifests/image"))
    assert {visit.ask("GET", place).status for place in places} == {200 if keep else 404}


def test_an_interrupt_deletes_all_that_was_pushed(counting: MemoryRegistry) -> None:
    """The cleanup runs after Ctrl-C, and nothing else does."""
    visit = visit_to(counting, "stopper")
    report: list[str] = []

    def tell(result: CheckResult) -> None:
        report.append(result.check.name)
        if result.check.name == "upload":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        doctor.examine(visit, frozenset({"upload", "chunks"}), tell)
    assert report[-2:] == ["upload", "cleanup"]
    assert visit.ask("GET", visit.v2(f"blobs/{visit.sample.digest}")).status == 404


def test_the_json_and_the_table_have_every_finding(counting: MemoryRegistry) -> None:
    """JSON has each check with its reason; the table has the advice for a failure once."""
    visit = visit_to(counting, "reporter", "team/**:pull")
    results = doctor.examine(visit, frozenset({"upload"}))
    report = json.loads(doctor_report.as_json(visit, results))
    assert set(report) == {
        *("url", "repository", "moorage", "ok", "counts", "head_strategy", "checks", "seen"),
    }
    assert report["ok"] is False
    assert report["counts"]["fail"] == 1
    assert set(report["checks"][0]) == {"name", "status", "seen", "why", "todo"}
    text = doctor_report.summary(visit, results)
    assert text.count("FAIL token") == 1
    assert "1 failed" in text
