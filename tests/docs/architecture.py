"""``python -m tests.docs.architecture`` writes the tree in docs/architecture.md anew.

A module that stays keeps its words, one that only moved takes them along, and a new one gets the
first sentence of its docstring, to be shortened by hand. This module must never judge the listing:
test_architecture.py does.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DOCUMENT = PROJECT / "docs" / "architecture.md"
PACKAGES = ("chalicelib", "moorage")
"""What is listed down to its modules; of tests only the folders are."""

_BEGIN = "<!-- tree: begin -->\n```text\n"
_END = "```\n<!-- tree: end -->"
_INDENT = "  "
_COLUMN = 30
"""Where the words begin."""


@dataclass(frozen=True)
class Entry:
    """One line of the listing: a path from the checkout, a folder's with a slash at its end."""

    path: str
    words: str

    @property
    def line(self) -> str:
        """The line as the document has it."""
        *above, name = self.path.rstrip("/").split("/")
        shown = _INDENT * len(above) + name + ("/" if self.path.endswith("/") else "")
        return f"{shown:{_COLUMN}} {self.words}".rstrip()


def listed(document: str) -> list[Entry]:
    """Return the lines of the listing that a document holds."""
    _, _, rest = document.partition(_BEGIN)
    listing, _, _ = rest.partition(_END)
    entries: list[Entry] = []
    above: list[str] = []
    for line in filter(None, listing.splitlines()):
        text = line.lstrip()
        name, _, words = text.partition(" ")
        above[(len(line) - len(text)) // len(_INDENT) :] = [name]
        path = "/".join(part.rstrip("/") for part in above)
        entries.append(Entry(path + ("/" if name.endswith("/") else ""), words.strip()))
    return entries


def real() -> list[str]:
    """Return what the listing must name, in its order: files before folders, by name."""
    modules = [path for package in PACKAGES for path in _below(PROJECT / package)]
    folders = sorted(path for path in (PROJECT / "tests").iterdir() if _holds_python(path))
    return [*modules, "tests/", *(f"tests/{folder.name}/" for folder in folders)]


def anew(document: str) -> str:
    """Return a document whose listing is that of the tree as it is."""
    words = {entry.path: entry.words for entry in listed(document)}
    entries = [Entry(path, _words(path, words)) for path in real()]
    before, _, rest = document.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + "".join(f"{entry.line}\n" for entry in entries) + _END + after


def _below(folder: Path) -> Iterator[str]:
    yield f"{folder.relative_to(PROJECT)}/"
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in inside:
        if path.is_dir() and _holds_python(path):
            yield from _below(path)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield str(path.relative_to(PROJECT))


def _holds_python(path: Path) -> bool:
    """Whether it is a folder with source in it, and not what a removed package left behind."""
    return path.is_dir() and next(path.rglob("*.py"), None) is not None


def _words(path: str, words: Mapping[str, str]) -> str:
    if path in words:
        return words[path]
    name = path.rstrip("/").rpartition("/")[2]
    for old, said in words.items():
        if old.rstrip("/").endswith(f"/{name}") and not (PROJECT / old).exists():
            return said
    if path.endswith("/"):
        return ""
    source = (PROJECT / path).read_text(encoding="utf-8")
    first = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[0]
    return first.replace("\n", " ").rstrip(".")


def main() -> int:
    """Write the listing anew."""
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(anew(document), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
