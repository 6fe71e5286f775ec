"""Fixtures of the client tests: the registry, the images, the daemons, the clients.

A plain ``pytest`` runs none of the tests marked ``clients``: they take minutes and need root.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.clients import daemons, logins
from tests.clients.adapters.base import temporary_workspace
from tests.clients.workshop import Workshop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

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
    yield from _started(daemons.dockerd())


@pytest.fixture(scope="session")
def dockerd29() -> Iterator[str]:
    """Give the address of a daemon of docker 29, which keeps images in a containerd of its own."""
    yield from _started(daemons.dockerd("dockerd29", "containerd2"))


@pytest.fixture(scope="session")
def containerd() -> Iterator[str]:
    """Give the socket of a containerd of our own; skips, saying why, where it can't run."""
    yield from _started(daemons.containerd())


@pytest.fixture(scope="session")
def containerd2() -> Iterator[str]:
    """Give the socket of a containerd 2 of our own; skips, saying why, where it can't run."""
    yield from _started(daemons.containerd("containerd2", "ctr2"))


@pytest.fixture(scope="session")
def buildkitd() -> Iterator[str]:
    """Give the address of a buildkitd of our own; skips, saying why, where it can't run."""
    yield from _started(daemons.buildkitd())


def _started(daemon: AbstractContextManager[str]) -> Iterator[str]:
    try:
        with daemon as address:
            yield address
    except daemons.NotStartedError as reason:
        pytest.skip(f"a daemon DID NOT START on this machine: {reason}")


@pytest.fixture
def workshop(request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """Give a test its own workspace, repository, clients and images."""
    with temporary_workspace() as own:
        yield Workshop(own, f"clients/{uuid4().hex[:12]}", request.getfixturevalue)
