"""Certificates at `moorage doctor`: what it reports of them, and that it trusts no invalid one."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from moorage.common.http import registry_url
from moorage.doctor import run as doctor
from moorage.doctor.findings import Status
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import Wire
from tests.moorage.doctor.broken_gateway import Break, MemoryRegistry, Reply, run_broken
from tests.support.certificates import certificate

if TYPE_CHECKING:
    from pathlib import Path

    from moorage.doctor.findings import Finding

NOWHERE = MemoryRegistry()
SECRET = "moor_secret"  # noqa: S105 - made up


def found_at(used: Path) -> tuple[Finding, list[str]]:
    """Connect to a registry with a certificate; return the finding, and the requests it got."""
    heard: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(used)

    def answer(sent: object) -> Reply:
        heard.append(repr(sent))
        return Reply.of(401, b"{}", Docker_Distribution_Api_Version="registry/2.0")

    with run_broken(NOWHERE, Break(on_request=answer, tls=context)) as url:
        visit = Visit(Wire(registry_url(url)), "team/tls", UserPassword("me", SECRET))
        results = doctor.examine(visit, frozenset({"reach"}))
    return results[0].finding, heard


@pytest.mark.parametrize(
    ("days", "name", "trusted", "status", "says"),
    [
        (90, "localhost", True, Status.OK, "tlsv1.3; the certificate is good for 90 days"),
        # Less than a fortnight is a warning.
        (5, "localhost", True, Status.WARN, "5 days"),
        (90, "localhost", False, Status.FAIL, "certificate"),
        (90, "registry.example", True, Status.FAIL, "certificate"),
        (-1, "localhost", True, Status.FAIL, "certificate"),
    ],
    ids=["good", "ends soon", "of nobody", "of another host", "expired"],
)
def test_an_invalid_certificate_is_a_failure_and_gets_no_request(  # noqa: PLR0913 - a table's columns
    days: int,
    name: str,
    status: Status,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    trusted: bool,
) -> None:
    """The server could be anybody; with a valid one the first request is without the password."""
    used = certificate(tmp_path, days, name)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(used))
    finding, heard = found_at(used)
    assert (finding.status, says in finding.seen.lower()) == (status, True), finding
    assert len(heard) == (status is not Status.FAIL)
    assert SECRET not in str(heard)
