"""`moorage doctor` in parts: what it may be asked, and that no answer makes it stumble."""

from __future__ import annotations

import io
import re
import sys
from email.message import Message
from typing import TYPE_CHECKING

import pytest

from moorage.cli import main as cli
from moorage.common.checkout import CHECKOUT
from moorage.common.http import HttpResponse, clean, registry_url
from moorage.doctor.checklist import CHECKS
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.checks.access import challenge, reach
from moorage.doctor.findings import FailedError, Status
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import BROKEN, Wire
from tests.moorage.doctor.broken_gateway import Asked, Break, Running, Told, run_broken

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
def test_what_is_asked_wrongly_is_2(
    arguments: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is sent, and what to write instead is told."""
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
def test_an_address_is_read_as_clients_do(text: str, url: str) -> None:
    """Without a scheme it is https, but on this machine."""
    assert registry_url(text).geturl() == url


def test_the_document_has_every_check() -> None:
    """docs/doctor.md names the checks, in their order."""
    document = (CHECKOUT / "docs" / "doctor.md").read_text(encoding="utf-8")
    _, _, section = document.partition("## The checks")
    table = section.partition("\n## ")[0]
    named = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert named == [check.name for check in CHECKS]


def test_a_check_needs_what_comes_before_it() -> None:
    """So one pass does, and each has a reason and something to do."""
    done: set[str] = set()
    for check in CHECKS:
        assert done >= set(check.needs)
        assert check.why
        assert check.todo
        done.add(check.name)
    assert len(done) == len(CHECKS)


def elsewhere(url: str) -> Visit:
    """Come to a registry that is nowhere: whoever sends it something fails."""
    return Visit(Wire(registry_url(url)), REPOSITORY)


def test_an_open_registry_elsewhere_is_a_warning() -> None:
    """On this machine it is none."""
    visit = elsewhere("https://registry.example")
    visit.hello = HttpResponse(200, Message(), b"{}")
    assert challenge(visit).status is Status.WARN


def test_nothing_is_sent_without_tls() -> None:
    """Not even a question: http is for this machine."""
    with pytest.raises(FailedError, match="nothing was sent"):
        reach(elsewhere("http://registry.example"))


def test_what_a_server_says_is_made_fit_to_be_shown() -> None:
    """No control characters, nothing long, and no word that could be a token."""
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
def test_nonsense_is_a_failure_and_no_accident(
    status: int,
    body: bytes,
    headers: str,
    nonsense: tuple[str, list[Told]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever a server answers, a check raises nothing but what says so."""
    monkeypatch.setattr(doctor_checks_uploads, "_WAIT_SECONDS", 0)
    url, answers = nonsense
    told = Told.of(status, body)
    told.headers.extend(NONSENSE[headers])
    answers[:] = [told]
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
def nonsense() -> Iterator[tuple[str, list[Told]]]:
    """A server that gives one answer to everything, and where to put that."""
    answers: list[Told] = []

    def answer(asked: Asked) -> Told:
        del asked
        return Told(answers[0].status, answers[0].headers, answers[0].body)

    with run_broken(Running(), Break(ask=answer)) as url:
        yield url, answers
