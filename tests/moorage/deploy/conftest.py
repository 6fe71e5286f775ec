"""The account that deployments of these tests go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from moorage.deploy import edge as deploy_edge
from tests.moorage.deploy import cloudformation
from tests.moorage.deploy.cloud import Cloud
from tests.moorage.deploy.cloudformation import emulated
from tests.support.moorage_command import forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def cloud(
    light_package: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Cloud]:
    """An empty account."""
    forget_settings(monkeypatch, tmp_path)
    # Most tests are of a registry without an edge, as every one was.
    monkeypatch.setattr(deploy_edge, "AT_FIRST", False)
    # No API of moto's can be reached.
    monkeypatch.setattr("moorage.doctor.run.measured_strategy", lambda _: "redirect")
    with emulated():
        yield Cloud(light_package, capsys)


@pytest.fixture
def importing() -> Iterator[None]:
    """CloudFormation's import, which moto lacks."""
    with cloudformation.importing():
        yield
