"""`moorage doctor`: its report, exit status and cleanup at registries without a fault.

And its options, its table of checks, and answers that make no sense.
"""

from __future__ import annotations

import io
import json
import re
import sys
from email.message import Message
from typing import TYPE_CHECKING

import pytest

from chalicelib.settings import HeadStrategy
from moorage.cli import main as cli
from moorage.common.errors import CommandError
from moorage.common.http import HttpResponse, clean, registry_url
from moorage.common.project import PROJECT
from moorage.doctor import report as doctor_report
from moorage.doctor import run as doctor
from moorage.doctor.checklist import CHECKS
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.checks.access import challenge, reach
from moorage.doctor.findings import FailedError, Status
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import BROKEN, Wire
from tests.moorage.doctor.broken_gateway import (
    Break,
    MemoryRegistry,
    Reply,
    SentRequest,
    examined,
    run_broken,
    run_registry,
    visit_to,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from moorage.doctor.checklist import CheckResult

REPOSITORY = "team/doctor"


def test_an_open_registry_passes_or_skips_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    """Checks that need a login, an edge or --large are skipped."""
    running = run_registry(counts=True, strategy=HeadStrategy.BODY, closed=False)
    with running as here, run_broken(here, Break()) as url:
        assert cli.main(["doctor", url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    skipped = {"token", "refusal", "no-leak", "redirect", "edge-put", "edge-get"}
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
        found = examined(visit, "head-strategy")["head-strategy"]
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
    found = examined(visit, "upload")
    assert found["token"].finding.status is Status.FAIL
    assert found["token"].finding.seen.startswith("no push in team/puller")
    assert "moorage grant" in found["token"].todo
    assert found["upload"].finding.status is Status.SKIP


def test_a_login_without_delete_is_a_warning(counting: MemoryRegistry) -> None:
    """The token check and the cleanup warn that something is left."""
    visit = visit_to(counting, "pusher", "team/**:pull,push")
    found = examined(visit, "delete")
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
    found = examined(visit, "manifest", "mount")
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


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["https://registry.example/v2"], "write https://registry.example"),
        (["https://u:p@registry.example"], "no address"),
        (["ftp://registry.example"], "no address"),
        (["https://registry.example:x"], "no address"),
        (["registry.example", "--user", "me"], "--password-stdin"),
        (["registry.example", "--token-file", "nowhere"], "can't be read"),
        (["registry.example", "--repository", "UPPER"], "not a repository name"),
        (["registry.example", "--only", "everything"], "no check is called everything"),
        (["registry.example", "--password-stdin"], "stdin holds no password"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_option_is_exit_status_2(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is sent, and the error says what to write instead."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert cli.main(["doctor", *arguments]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert says in errors
    assert "u:p" not in errors


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("registry.example", "https://registry.example"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("https://localhost/", "https://localhost"),
        ("http://registry.example", "http://registry.example"),
    ],
)
def test_an_address_without_a_scheme_is_https_but_on_this_machine(text: str, url: str) -> None:
    """As client programs have it."""
    assert registry_url(text).geturl() == url


def test_docs_doctor_has_every_check_in_order_after_those_that_it_needs() -> None:
    """Its table is that of checklist.py; each name is there once, and has a reason and advice."""
    document = (PROJECT / "docs" / "doctor.md").read_text(encoding="utf-8")
    _, _, section = document.partition("## The checks")
    table = section.partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert named == [check.name for check in CHECKS]
    for number, check in enumerate(CHECKS):
        assert set(named[:number]) >= set(check.needs)
        assert check.why
        assert check.todo
    assert len(set(named)) == len(CHECKS)


def elsewhere(url: str) -> Visit:
    """Visit a registry that is nowhere: to send it anything fails."""
    return Visit(Wire(registry_url(url)), REPOSITORY)


def test_an_open_registry_is_a_warning_but_on_this_machine() -> None:
    """Everybody could push to it."""
    visit = elsewhere("https://registry.example")
    visit.hello = HttpResponse(200, Message(), b"{}")
    assert challenge(visit).status is Status.WARN


def test_nothing_is_sent_without_tls() -> None:
    """Http is for this machine only."""
    with pytest.raises(FailedError, match="nothing was sent"):
        reach(elsewhere("http://registry.example"))


def test_a_servers_text_is_shown_short_printable_and_without_tokens() -> None:
    """Control characters become spaces, and a long word is left out."""
    token = "moor_" + "a1" * 25
    shown = clean(f"your \x1b[31m{token}\r\n is {'bad ' * 100}")
    assert token not in shown
    assert shown.isprintable()
    assert len(shown) <= 160


NONSENSE: dict[str, dict[str, str]] = {
    "a broken URL": {"Location": "http://[x", "Link": '<http://[x>; rel="next"', "Range": "0-0"},
    "odd numbers": {"Location": "/v2/x", "Range": "0-99999999999999999999", "Date": "0"},
    "nothing": {},
}


@pytest.mark.parametrize("headers", sorted(NONSENSE))
@pytest.mark.parametrize("body", [b"", b"[1]", b'{"errors": [1], "tags": 1, "manifests": [1]}'])
@pytest.mark.parametrize("status", [200, 202, 307])
def test_no_answer_makes_a_check_raise_anything_unexpected(
    status: int,
    body: bytes,
    headers: str,
    nonsense: tuple[str, list[Reply]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A check returns a finding, or raises an error that becomes one."""
    monkeypatch.setattr(doctor_checks_uploads, "_WAIT_SECONDS", 0)
    url, answers = nonsense
    reply = Reply.of(status, body)
    reply.headers.extend(NONSENSE[headers])
    answers[:] = [reply]
    for check in CHECKS:
        if check.name == "sizes":
            continue
        visit = Visit(Wire(registry_url(url)), REPOSITORY, UserPassword("me", "secret"))
        visit.hello = HttpResponse(status, Message(), body)
        visit.challenge = {"realm": f"{url}/v2/_token", "service": "s"}
        try:
            check.run(visit)
        except (FailedError, ValueError, *BROKEN):
            continue


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(("counts", "right"), [(True, "body"), (False, "redirect")])
def test_the_head_strategy_is_measured_without_a_login(
    *, closed: bool, counts: bool, right: str
) -> None:
    """Whichever strategy is set: what the gateway does with a HEAD is all that counts."""
    for strategy in HeadStrategy:
        with run_registry(counts=counts, strategy=strategy, closed=closed) as here:
            assert doctor.measured_strategy(here.url) == right


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (Break(on_request=lambda _: Reply.of(403, b"{}")), "HEAD of /v2/_token: 403"),
        (Break(hang_up=True), "the connection failed"),
    ],
)
def test_a_head_strategy_that_can_not_be_measured_is_an_error(
    counting: MemoryRegistry, broken: Break, told: str
) -> None:
    """A gateway that answers by itself shows nothing: a HEAD of length 0 is not taken for one."""
    with run_broken(counting, broken) as url, pytest.raises(CommandError, match=told):
        doctor.measured_strategy(url)


@pytest.fixture(scope="module")
def nonsense() -> Iterator[tuple[str, list[Reply]]]:
    """A server that gives one answer to everything, and where to put that."""
    answers: list[Reply] = []

    def answer(_: SentRequest) -> Reply:
        return Reply(answers[0].status, answers[0].headers, answers[0].body)

    with run_broken(MemoryRegistry(), Break(on_request=answer)) as url:
        yield url, answers
