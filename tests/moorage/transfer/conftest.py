"""A registry with faults, and commands run as a user who has no settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from moorage.cli import main as cli
from moorage.common import patience
from tests.support.whole_registry import PASSWORD, WholeRegistry, run_whole_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = (
    *("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"),
    *("DOCKER_HOST", "CONTAINER_HOST"),
)


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What `--json` printed."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Runner:
    """Runs `moorage` in this process; `fake` is a registry, `folder` and `home` are the test's."""

    captured: pytest.CaptureFixture[str]
    fake: WholeRegistry
    folder: Path
    home: Path

    @property
    def host(self) -> str:
        """The registry's host and port."""
        return self.fake.url.removeprefix("http://")

    def renew(self) -> None:
        """Make the registry as if it were new."""
        anew = vars(WholeRegistry(url=self.fake.url))
        vars(self.fake).clear()
        vars(self.fake).update(anew)

    def log_in(self, password: str = PASSWORD, host: str = "") -> None:
        """Keep a login as docker does, and have the registry ask for it."""
        file = self.home / ".docker/config.json"
        file.parent.mkdir(exist_ok=True)
        logins = {host or self.host: {"username": "me", "password": password}}
        file.write_text(json.dumps({"auths": logins}))
        self.fake.scopes = []

    def __call__(self, *words: str | Path, fails: bool = False) -> Ran:
        """Run it to its end; unless it `fails`, it has to end well."""
        status = cli.main([str(word) for word in words])
        shown = self.captured.readouterr()
        assert (status != 0) == fails, shown.err
        assert "Traceback" not in shown.err
        return Ran(status, shown.out, shown.err)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; failures are waited for a hundredth of the usual time."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    monkeypatch.setattr(patience, "_FIRST_WAIT", 0.001)
    return folder


@pytest.fixture(scope="module")
def served() -> Iterator[WholeRegistry]:
    """One registry for all tests of a module."""
    with run_whole_registry() as registry:
        yield registry


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], served: WholeRegistry, tmp_path: Path, home: Path
) -> Runner:
    """The command, and a registry as if it were new."""
    runner = Runner(capsys, served, tmp_path, home)
    runner.renew()
    return runner
