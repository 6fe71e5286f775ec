"""A registry that asks for tokens, client programs, and the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.moorage.login.doubles import PROOF, LoginRegistry, Tools, run_login_registry
from tests.support.moorage_command import Command, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def running() -> Iterator[LoginRegistry]:
    """One registry for all tests."""
    with run_login_registry() as registry:
        yield registry


@pytest.fixture
def registry(running: LoginRegistry) -> LoginRegistry:
    """A registry with the usual answers, that has got no request."""
    running.__dict__.update({**LoginRegistry().__dict__, "url": running.url})
    return running


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """A PATH with nothing on it yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Tools(folder)


@pytest.fixture
def moorage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command, with a proof in the variable PROOF."""
    forget_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("PROOF", PROOF)
    return Command(capsys)
