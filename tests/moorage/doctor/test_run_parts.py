"""`moorage doctor` in parts: its options, its table of checks, and answers that make no sense."""

from __future__ import annotations

import io
import re
import sys
from email.message import Message
from typing import TYPE_CHECKING

import pytest

from moorage.cli import main as cli
from moorage.common.http import HttpResponse, clean, registry_url
from moorage.common.project import PROJECT
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
    run_broken,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = "team/doctor"


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


def test_docs_doctor_has_every_check_in_order() -> None:
    """Its table is that of checklist.py."""
    document = (PROJECT / "docs" / "doctor.md").read_text(encoding="utf-8")
    _, _, section = document.partition("## The checks")
    table = section.partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert named == [check.name for check in CHECKS]


def test_a_check_needs_only_checks_before_it() -> None:
    """Each name is there once, and has a reason and advice."""
    done: set[str] = set()
    for check in CHECKS:
        assert done >= set(check.needs)
        assert check.why
        assert check.todo
        done.add(check.name)
    assert len(done) == len(CHECKS)


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


@pytest.fixture(scope="module")
def nonsense() -> Iterator[tuple[str, list[Reply]]]:
    """A server that gives one answer to everything, and where to put that."""
    answers: list[Reply] = []

    def answer(_: SentRequest) -> Reply:
        return Reply(answers[0].status, answers[0].headers, answers[0].body)

    with run_broken(MemoryRegistry(), Break(on_request=answer)) as url:
        yield url, answers
