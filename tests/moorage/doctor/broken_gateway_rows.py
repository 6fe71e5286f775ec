"""What the tests of broken gateways share: a row of their tables, how to come there, whom to ask.

This must never come to two rows with one repository: what others keep must not be in the way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moorage.common.http import registry_url
from moorage.doctor import run as doctor
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import Wire
from tests.moorage.doctor.broken_gateway import STORE, Break, Running, run_broken
from tests.moorage.doctor.broken_gateway_tricks import method

if TYPE_CHECKING:
    from moorage.doctor.checklist import CheckResult

GRANT = "team/**:pull,push,delete"

IS_BLOB = method("GET", has="/blobs/sha256")
IS_STORED_BLOB = method("GET", has=STORE)
IS_V2 = method("GET", has="/v2/")


@dataclass(frozen=True)
class Row:
    """What is broken, and the check that must fail for it; `says` is in what it tells to do."""

    check: str
    broken: Break
    redirecting: bool = False
    large: bool = False
    says: str = ""


def visit_to(
    url: str, registry: Running, name: str, *, large: bool = False, keep: bool = False
) -> Visit:
    """Come with a token of one's own."""
    assert registry.access is not None
    secret = registry.access.credential(name, GRANT)
    repository = "team/" + re.sub("[^a-z0-9]+", "-", name.lower())
    return Visit(Wire(registry_url(url)), repository, UserPassword("somebody", secret), large, keep)


def found_by(row: Row, registry: Running, name: str) -> CheckResult:
    """Return what the row's check finds at the broken gateway."""
    with run_broken(registry, row.broken) as url:
        keep = row.check != "cleanup"
        visit = visit_to(url, registry, name, large=row.large, keep=keep)
        only = frozenset({"upload" if row.check == "cleanup" else row.check})
        results = {result.check.name: result for result in doctor.examine(visit, only)}
    return results[row.check]
