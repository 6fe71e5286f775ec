"""Pages name only what exists: other pages and their headings, files, tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.md")])
HISTORY = PROJECT / "CHANGELOG.md"
"""It may name files that are gone."""

_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`((?:chalicelib|moorage|tests|bench|infra|docs|\.chalice|\.github)/[^`\s]*)`")
_TEST = re.compile(r"`(test_\w+\.py)?(?:::(test_\w+))?`")


def anchors(page: Path) -> set[str]:
    """Return the names by which a page's headings can be linked to."""
    headings = re.findall(r"^#+ (.+)$", _CODE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link within the project names a file that is there, and a heading that it has."""
    dead = []
    for name, heading in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        target = page.parent / name if name else page
        if not target.exists() or (heading and heading not in anchors(target)):
            dead.append(f"{name}#{heading}")
    assert dead == []


@pytest.mark.parametrize("page", sorted({*PAGES} - {HISTORY}), ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    """A path in a page is one of the tree's; a star in it stands for some name."""
    named = [path.partition("::")[0] for path in _PATH.findall(page.read_text(encoding="utf-8"))]
    assert [path for path in named if not any(PROJECT.glob(path))] == []


@pytest.mark.parametrize("page", sorted({*PAGES} - {HISTORY}), ids=lambda page: page.name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    """A page names files of tests, and functions in the file that it named last."""
    file, missing = "", []
    for named, function in _TEST.findall(page.read_text(encoding="utf-8")):
        if not named and not function:
            continue
        file = named or file
        found = list((PROJECT / "tests").rglob(file))
        if not found or (function and f"def {function}(" not in found[0].read_text("utf-8")):
            missing.append(f"{file}::{function}")
    assert missing == []
