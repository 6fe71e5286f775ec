"""docs/security.md promises what tests hold; test_links.py looks that they are there."""

from __future__ import annotations

from moorage.common.project import PROJECT

DOCUMENT = PROJECT / "docs" / "security.md"


def test_every_threat_names_a_test() -> None:
    """No row of the table says that something is stopped, and leaves it at that."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| ") and line.count("|") == 5]
    threats = rows[1:]
    assert len(threats) > 15
    assert [row for row in threats if "test_" not in row and "the same" not in row] == []
