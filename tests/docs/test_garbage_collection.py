"""docs/garbage-collection.md: its table of faults is of mutants, and of drills that catch them."""

from __future__ import annotations

import re

from moorage.common.project import PROJECT
from tests.drills.mutants.every import RULES

DOCUMENT = PROJECT / "docs" / "garbage-collection.md"


def test_every_fault_in_the_table_is_a_mutant_that_this_drill_catches() -> None:
    """By the mutant's own name, and that of one of its drills."""
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.partition("| changed so that | what catches it |\n|---|---|\n")[2]
    told = re.findall(r"^\| (.+) \| (.+) \|$", table.partition("\n\n")[0], re.MULTILINE)
    caught = {each.name: {*each.raced, *each.crashed, *each.failed} for each in RULES}
    assert len(told) > 15
    assert [row for row in told if row[1] not in caught.get(row[0], ())] == []
