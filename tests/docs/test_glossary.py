"""One word for each thing, as docs/glossary.md promises: the part that a program can check."""

from __future__ import annotations

import ast
import re
from collections import Counter

from moorage.common.project import PROJECT

GLOSSARY = PROJECT / "docs" / "glossary.md"
SOURCES = sorted(
    path for package in ("chalicelib", "moorage") for path in (PROJECT / package).rglob("*.py")
)
PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").glob("*.[my]*")])
DROPPED = re.compile(r"(?<![a-z])(desk|gatehouse|mint|doorkeeper|vouching)(?![a-z])", re.IGNORECASE)
"""Metaphors that once stood for terms of the field: token endpoint, authorizer and others."""
VAGUE = {"told", "met", "ours", "asked", "lots"}
"""What a name of the product must not be: it says nothing of the thing that it names."""


def test_no_term_is_explained_twice() -> None:
    """Each term has one row."""
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(terms) > 50
    assert [term for term, times in Counter(terms).items() if times > 1] == []


def test_every_class_name_is_defined_once() -> None:
    """No two modules of the product define a public class of one name."""
    names = Counter(
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert len(names) > 100
    assert [name for name, times in names.items() if times > 1] == []


def test_dropped_words_stand_nowhere() -> None:
    """Neither the product's code nor its pages use a metaphor for what has a term."""
    app = PROJECT / "app.py"
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for path in [app, *SOURCES, *PAGES]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if DROPPED.search(line)
    ]
    assert found == []


def test_no_name_in_the_product_is_a_vague_one() -> None:
    """Functions, parameters, variables and attributes say what they are."""
    found = [
        f"{path.relative_to(PROJECT)}: {name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for member in ("id", "arg", "attr", "name")
        if (name := getattr(node, member, None)) in VAGUE
    ]
    assert found == []
