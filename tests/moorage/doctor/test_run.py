"""`moorage doctor` at registries that are well: local ones as people start them, and in parts."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.settings import HeadStrategy
from moorage.cli import main as cli
from moorage.doctor import report as doctor_report
from moorage.doctor import run as doctor
from moorage.doctor.findings import Status
from moorage.doctor.visit import Credentials, Visit
from moorage.doctor.wire import Wire
from tests.moorage.doctor.broken_gateway import Running, run_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from moorage.doctor.check import Result

_PATIENCE = 90.0
MOORAGE = str(Path(sys.executable).with_name("moorage"))
REPOSITORY = "team/doctor"
ALL = "team/**:pull,push,delete"


@pytest.fixture(scope="module")
def registry() -> Iterator[Running]:
    """A registry that controls access."""
    with run_registry(counts=True, strategy=HeadStrategy.BODY) as running:
        yield running


def secret_of(registry: Running, name: str, *grants: str) -> str:
    """Make an access token."""
    assert registry.access is not None
    return registry.access.credential(name, *grants)


def visit_to(registry: Running, name: str, *grants: str, keep: bool = False) -> Visit:
    """Come with a token that holds some grants."""
    credentials = Credentials("somebody", secret_of(registry, name, *grants))
    return Visit(Wire(doctor.address(registry.url)), f"team/{name}", credentials, keep=keep)


def by_name(results: list[Result]) -> dict[str, Result]:
    """Return results by the names of their checks."""
    return {result.check.name: result for result in results}


def start_local(folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start `moorage local` on free ports, and wait until it is ready."""
    ready = folder / "ready.json"
    command = [MOORAGE, "local", "--gateway-port", "0", "--proxy-port", "0"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--ready-file", str(ready), *options],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    deadline = time.monotonic() + _PATIENCE
    while not ready.exists():
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, "not ready in time"
        time.sleep(0.1)
    return process, json.loads(ready.read_text(encoding="utf-8"))


def statuses_of(told: dict[str, Any]) -> dict[str, str]:
    """Return what became of each check, out of the JSON."""
    return {check["name"]: check["status"] for check in told["checks"]}


def test_a_local_registry_is_well(tmp_path: Path) -> None:
    """`moorage local` that asks for logins and says 0 to every HEAD passes every check."""
    auth = ("--auth", "--admin-token-file", "token")
    process, ready = start_local(tmp_path, *auth, "--head-mode", "zero")
    try:
        run = subprocess.run(
            [MOORAGE, "doctor", ready["gateway"], "--json", "--token-file", "token"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    finally:
        process.terminate()
        process.wait(30)
    assert run.returncode == 0, run.stdout
    told = json.loads(run.stdout)
    assert statuses_of(told) == {check.name: "ok" for check in doctor.CHECKS}
    assert told["head_strategy"] == "redirect"
    assert (told["url"], told["ok"]) == (ready["gateway"], True)
    assert told["seen"]["largest_body_bytes"] == 4_700_000
    assert told["seen"]["gateway_counts_head"] is False
    assert (tmp_path / "token").read_text().strip() not in run.stdout + run.stderr


def test_an_open_registry_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    """One whose gateway counts passes too; what needs a login, or --large, isn't looked at."""
    with run_registry(counts=True, strategy=HeadStrategy.BODY, closed=False) as here:
        assert cli.main(["doctor", here.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    skipped = {"token", "refusal", "no-leak", "redirect"}
    expected = {check.name: "skip" if check.name in skipped else "ok" for check in doctor.CHECKS}
    assert statuses_of(told) == expected
    assert told["head_strategy"] == "body"
    assert told["seen"]["gateway_counts_head"] is True


@pytest.mark.parametrize(
    ("counts", "strategy", "status", "todo"),
    [
        (True, HeadStrategy.BODY, Status.OK, ""),
        (True, HeadStrategy.REDIRECT, Status.WARN, "MOORAGE_HEAD_STRATEGY=body"),
        (False, HeadStrategy.REDIRECT, Status.OK, ""),
        (False, HeadStrategy.BODY, Status.FAIL, "MOORAGE_HEAD_STRATEGY=redirect"),
    ],
)
def test_the_strategy_to_set_is_told(
    *, counts: bool, strategy: HeadStrategy, status: Status, todo: str
) -> None:
    """`body` where the gateway counts, else `redirect`; the worse one of the two is no failure."""
    with run_registry(counts=counts, strategy=strategy, closed=False) as here:
        visit = Visit(Wire(doctor.address(here.url)), REPOSITORY)
        found = by_name(doctor.examine(visit, frozenset({"head-strategy"})))["head-strategy"]
    assert found.finding.status is status
    assert todo in found.todo
    assert visit.facts["head_strategy"] == ("body" if counts else "redirect")


def test_a_table_is_printed(
    registry: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each check that was done, and what was seen; the password is nowhere."""
    secret = secret_of(registry, "table", ALL)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{secret}\n"))
    arguments = ["--user", "me", "--password-stdin", "--repository", "team/table"]
    assert cli.main(["doctor", registry.url, *arguments, "--only", "missing"]) == 0
    output, errors = capsys.readouterr()
    rows = [line.split()[:2] for line in output.splitlines() if line.startswith("ok ")]
    names = ["reach", "version", "challenge", "token", "missing", "cleanup"]
    assert rows == [["ok", name] for name in names]
    assert "team/table" in output
    assert secret not in output + errors


def test_a_wrong_password_is_told(
    registry: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the password that failed, and nothing else is tried."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("moor_wrong"))
    assert cli.main(["doctor", registry.url, "--password-stdin", "--only", "upload"]) == 1
    output, _ = capsys.readouterr()
    assert "the password of 'moorage' is refused" in " ".join(output.split())
    assert "moor_wrong" not in output
    assert "needs token" in output


def test_whoever_comes_without_a_password_is_told(
    registry: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """A registry that asks who one is wants to be told."""
    assert cli.main(["doctor", registry.url, "--only", "token", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    token = next(check for check in told["checks"] if check["name"] == "token")
    assert token["status"] == "fail"
    assert "--password-stdin" in token["todo"]


def test_who_may_only_pull_is_told_what_to_grant(registry: Running) -> None:
    """Pushing is what a doctor does."""
    visit = visit_to(registry, "puller", "team/**:pull")
    found = by_name(doctor.examine(visit, frozenset({"upload"})))
    assert found["token"].finding.status is Status.FAIL
    assert found["token"].finding.seen.startswith("no push in team/puller")
    assert "moorage grant" in found["token"].todo
    assert found["upload"].finding.status is Status.SKIP


def test_who_may_not_delete_leaves_something(registry: Running) -> None:
    """That is told twice, and is no failure."""
    visit = visit_to(registry, "pusher", "team/**:pull,push")
    found = by_name(doctor.examine(visit, frozenset({"delete"})))
    statuses = {name: found[name].finding.status for name in ("token", "delete", "cleanup")}
    expected = {"token": Status.WARN, "delete": Status.SKIP, "cleanup": Status.WARN}
    assert statuses == expected
    assert "1 blobs" in found["cleanup"].finding.seen


@pytest.mark.parametrize("keep", [False, True])
def test_nothing_is_left_unless_asked_for(registry: Running, *, keep: bool) -> None:
    """What was pushed is deleted, and `--keep` keeps it."""
    visit = visit_to(registry, f"keeper-{keep}".lower(), ALL, keep=keep)
    found = by_name(doctor.examine(visit, frozenset({"manifest", "mount"})))
    assert found["cleanup"].finding.status is (Status.SKIP if keep else Status.OK)
    places = [
        visit.v2(f"blobs/{visit.sample.digest}", name) for name in (visit.repository, visit.second)
    ]
    places.append(visit.v2("manifests/image"))
    assert {visit.ask("GET", place).status for place in places} == {200 if keep else 404}


def test_who_stops_it_leaves_nothing(registry: Running) -> None:
    """Ctrl-C ends it, but not before all is deleted."""
    visit = visit_to(registry, "stopper", ALL)
    told: list[str] = []

    def tell(result: Result) -> None:
        told.append(result.check.name)
        if result.check.name == "upload":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        doctor.examine(visit, frozenset({"upload", "chunks"}), tell)
    assert told[-2:] == ["upload", "cleanup"]
    assert visit.ask("GET", visit.v2(f"blobs/{visit.sample.digest}")).status == 404


def test_the_report_has_everything(registry: Running) -> None:
    """JSON has each check with its reason; the table says what to do about a failure, once."""
    visit = visit_to(registry, "reporter", "team/**:pull")
    results = doctor.examine(visit, frozenset({"upload"}))
    told = json.loads(doctor_report.as_json(visit, results))
    assert set(told) == {
        *("url", "repository", "moorage", "ok", "counts", "head_strategy", "checks", "seen"),
    }
    assert told["ok"] is False
    assert told["counts"]["fail"] == 1
    assert set(told["checks"][0]) == {"name", "status", "seen", "why", "todo"}
    text = doctor_report.summary(visit, results)
    assert text.count("FAIL token") == 1
    assert "1 failed" in text
