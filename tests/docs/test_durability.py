"""docs/durability.md: how many operations, pairs and mutants it names are those of the drills."""

from __future__ import annotations

import re

import pytest

from moorage.common.project import PROJECT
from tests.drills import operations, pairs
from tests.drills.mutants.every import ALL

TEXT = (PROJECT / "docs" / "durability.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("pattern", "drilled"),
    [
        (r"\*\*Stops\.\*\* (\d+) operations:", len(operations.ALL)),
        (r"\*\*Orders\.\*\* (\d+) pairs of requests", len(pairs.ALL)),
        (
            r"\*\*Mutants\.\*\* The program is changed in (\d+) ways",
            len(ALL),
        ),
    ],
)
def test_each_count_in_the_document_is_that_of_the_drills(pattern: str, drilled: int) -> None:
    """Each count stands once in the text, and equals the length of the table that is drilled."""
    assert re.findall(pattern, TEXT) == [str(drilled)]
