"""docs/architecture.md lists the tree as it is, and the floors as import-linter holds them."""

from __future__ import annotations

import re
import tomllib

from moorage.common.project import PROJECT
from tests.docs.architecture import DOCUMENT, anew, listed, real

TEXT = DOCUMENT.read_text(encoding="utf-8")


def test_the_listing_names_every_module_and_nothing_else() -> None:
    """Modules of both packages and the folders of tests: each has its line, in order."""
    named = [entry.path for entry in listed(TEXT)]
    missing, gone = sorted(set(real()) - set(named)), sorted(set(named) - set(real()))
    assert (missing, gone) == ([], []), (
        "docs/architecture.md lacks the first and lists the second, which are gone; "
        "`python -m tests.docs.architecture` writes the listing anew, then check its words"
    )
    assert named == real()


def test_every_line_of_the_listing_has_words_and_fits() -> None:
    """No line says only a name, and none is longer than a line of source may be."""
    assert [entry.path for entry in listed(TEXT) if not entry.words] == []
    assert [entry.path for entry in listed(TEXT) if len(entry.line) > 100] == []


def test_a_listing_written_anew_keeps_the_words_of_what_stayed_or_moved() -> None:
    """Words follow a module to another folder, and what is gone loses its line."""
    (clock,) = [entry.line for entry in listed(TEXT) if entry.path == "chalicelib/clock.py"]
    (api,) = [entry.line for entry in listed(TEXT) if entry.path == "chalicelib/api/"]
    assert anew(TEXT) == TEXT
    assert anew(TEXT.replace(clock, "").replace(api, f"{api}\n  {clock}")) == TEXT
    assert anew(TEXT.replace(clock, f"{clock}\n  gone.py  a module of yesterday")) == TEXT


def test_the_floors_are_those_of_the_contracts() -> None:
    """Each layer of the layered contracts is a line of the document's drawings, in order."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layered = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    assert len(layered) == 3
    drawn = re.findall(r"<!-- floors -->\n```text\n(.*?)```", TEXT, flags=re.DOTALL)
    for layers, drawing in zip(layered, drawn, strict=True):
        lines = [line.partition("  ")[0].strip() for line in drawing.splitlines()]
        assert lines == [layer.replace("chalicelib.", "") for layer in layers]
