"""Packages: making one takes seconds, and PyPI the first time."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest

from moorage.common.project import load_template
from moorage.deploy import package as deploy_package
from tests.support import packaging

if TYPE_CHECKING:
    from pathlib import Path

_FIXTURES = frozenset({"package", "task", "light_package"})


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that needs a package as slow, and give it 900 seconds with its fixtures.

    Packaging waits for another worker's, and then for PyPI.
    """
    for item in items:
        if _FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            continue
        item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def package() -> Path:
    """The folder that `make package` fills."""
    return packaging.package()


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its zip, unpacked for this machine, which no test may change."""
    folder = tmp_path_factory.mktemp("task")
    packaging.unpack(folder)
    return folder


@pytest.fixture(scope="session")
def light_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same template, with a zip that passes for one: moto would unpack the code four times."""
    folder = tmp_path_factory.mktemp("light-package")
    content = load_template(package / "sam.yaml")
    (folder / "sam.json").write_text(json.dumps(content), encoding="utf-8")
    with (
        zipfile.ZipFile(package / deploy_package.CODE) as whole,
        zipfile.ZipFile(folder / deploy_package.CODE, "w") as light,
    ):
        light.writestr("app.py", "")
        for name in whole.namelist():
            if name.endswith(".dist-info/WHEEL"):
                light.writestr(name, "")
    return folder
