"""Tests mirror the code: whoever knows a module knows where its tests are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("chalicelib", "moorage")
TESTS = PROJECT / "tests"
LARGEST_FOLDER = 25
"""Python files that a folder holds at most."""

OF_THE_PACKAGE: frozenset[str] = frozenset()
"""Files, by their path below tests/, that test a package as a whole."""


def modules(package: Path) -> set[str]:
    """Return the names of a package's modules and of its sub-packages."""
    files = {file.stem for file in package.glob("*.py")} - {"__init__"}
    return files | {file.parent.name for file in package.glob("*/*.py")}


def mirrored() -> list[Path]:
    """Return every folder of tests that stands for a package."""
    folders = [TESTS / name for name in PACKAGES]
    return [
        folder
        for top in folders
        for folder in (top, *top.rglob("*"))
        if folder.is_dir() and list(folder.glob("*.py"))
    ]


@pytest.mark.parametrize("folder", mirrored(), ids=lambda folder: str(folder.relative_to(TESTS)))
def test_a_folder_of_tests_stands_for_a_package(folder: Path) -> None:
    """Each of its files is named test_MODULE or test_MODULE_ASPECT, for a module of the package."""
    package = PROJECT / folder.relative_to(TESTS)
    assert package.is_dir(), f"there is no package {package.relative_to(PROJECT)}"
    known = modules(package)
    stray = [
        file.name
        for file in folder.glob("test_*.py")
        if not any(f"{file.stem}_".startswith(f"test_{name}_") for name in known)
        and file.relative_to(TESTS).as_posix() not in OF_THE_PACKAGE
    ]
    assert stray == [], f"{package.relative_to(PROJECT)} has no module that these are named for"


def test_no_folder_is_too_long_to_read() -> None:
    """Whoever opens a folder sees what is in it."""
    tops = [PROJECT / name for name in (*PACKAGES, "tests", "bench", "infra")]
    counts = {
        folder.relative_to(PROJECT): len(list(folder.glob("*.py")))
        for top in tops
        for folder in (top, *top.rglob("*"))
        if folder.is_dir()
    }
    assert {folder: count for folder, count in counts.items() if count > LARGEST_FOLDER} == {}
