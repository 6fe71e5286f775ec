"""Fixtures of the client tests: the registry, the images, the daemons, the clients.

A plain ``pytest`` runs none of the tests marked ``clients``: they take minutes and need root.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.clients import daemons, images, logins, recipes
from tests.clients.adapters.base import temporary_workspace
from tests.clients.adapters.catalogue import DAEMON_OF, make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.daemons import RegistryProcess
    from tests.clients.logins import World


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the client tests out unless the command line speaks of clients."""
    if any("clients" in argument for argument in config.invocation_params.args):
        return
    left_out = [item for item in items if item.get_closest_marker("clients")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say client by client what was shown and what was not, so that a skip can't hide."""
    seconds: dict[str, float] = defaultdict(float)
    results: dict[str, list[str]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            shown = dict(getattr(report, "user_properties", ()))
            if "client" not in shown:
                continue
            results[shown["client"]].append(f"{shown['image']}: {outcome}")
            seconds[shown["client"]] += report.duration
    if results:
        terminalreporter.section("clients")
    for client in sorted(results):
        outcomes = ", ".join(sorted(results[client]))
        terminalreporter.write_line(f"{client:18} {seconds[client]:6.1f} s  {outcomes}")


@pytest.fixture(scope="module")
def registry() -> Iterator[RegistryProcess]:
    """Give the registry under test; a new one for each module, since moto slows as it fills."""
    with daemons.registry() as running:
        yield running


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """Give a registry with access control that holds an image."""
    with logins.furnished() as furnished:
        yield furnished


@pytest.fixture(scope="session")
def dockerd() -> Iterator[str]:
    """Give the address of a docker daemon of our own; skips, saying why, where it can't run."""
    try:
        with daemons.dockerd() as address:
            yield address
    except daemons.NotStartedError as reason:
        pytest.skip(f"dockerd DID NOT START on this machine: {reason}")


@pytest.fixture(scope="session")
def containerd() -> Iterator[str]:
    """Give the socket of a containerd of our own; skips, saying why, where it can't run."""
    try:
        with daemons.containerd() as address:
            yield address
    except daemons.NotStartedError as reason:
        pytest.skip(f"containerd DID NOT START on this machine: {reason}")


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """Give a workspace of the test's own."""
    with temporary_workspace() as own:
        yield own


@pytest.fixture
def client(request: pytest.FixtureRequest, workspace: Workspace) -> Callable[[str], Client]:
    """Give a maker of clients by name, which starts the daemon that a client needs."""

    def maker(name: str) -> Client:
        daemon = DAEMON_OF.get(name)
        address = request.getfixturevalue(daemon) if daemon else ""
        return make(name, workspace, address)

    return maker


@pytest.fixture
def image(workspace: Workspace) -> Callable[[str], Path]:
    """Give a maker of layouts by image name, with layers that nobody has pushed before."""

    def maker(name: str) -> Path:
        try:
            kept = recipes.layout(name)
        except recipes.CannotMakeError as reason:
            pytest.skip(f"image {name} CAN'T BE MADE on this machine: {reason}")
        return images.stamp(kept, workspace.fresh(name), uuid4().hex)

    return maker


@pytest.fixture
def repository() -> str:
    """Give the name of a repository that nobody has used."""
    return f"clients/{uuid4().hex[:12]}"
