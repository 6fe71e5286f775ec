"""docs/security.md promises what tests hold: each one it names is there."""

from __future__ import annotations

import re

from moorage.common.project import PROJECT

TESTS = PROJECT / "tests"
DOCUMENT = TESTS.parent / "docs" / "security.md"
_NAMED = re.compile(r"`(test_\w+\.py)?(?:::(test_\w+))?`")


def test_every_test_that_is_named_exists() -> None:
    """A row of the threat table names files of tests, and functions in them."""
    row_file, missing, named = "", [], 0
    for file, function in _NAMED.findall(DOCUMENT.read_text(encoding="utf-8")):
        if not file and not function:
            continue
        named += 1
        row_file = file or row_file
        found = list(TESTS.rglob(row_file))
        if not found or (function and f"def {function}(" not in found[0].read_text()):
            missing.append(f"{row_file}::{function}")
    assert missing == []
    assert named > 20


def test_every_threat_names_a_test() -> None:
    """No row of the table says that something is stopped, and leaves it at that."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and line.count("|") == 5]
    threats = rows[1:]
    assert len(threats) > 15
    assert [row for row in threats if "test_" not in row and "the same" not in row] == []
