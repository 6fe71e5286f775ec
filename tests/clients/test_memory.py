"""How much memory the registry's own processes take for one layer of 300 MB."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clients import daemons
from tests.clients.contents import read_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

GROWTH_LIMIT = 64_000_000
MEASURED = ("gateway", "proxy")


def peak_memory(pid: int) -> int:
    """Peak resident memory of a process so far, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, f"process {pid} has no VmHWM"
    return int(found[1]) * 1024


@pytest.mark.skipif(
    daemons.URLS_VARIABLE in os.environ,
    reason=f"{daemons.URLS_VARIABLE} names a registry whose processes can't be measured from here",
)
def test_proxy_and_gateway_hold_no_layer_in_memory(
    workshop: Workshop, record_property: Callable[[str, object], None]
) -> None:
    """Pushing 300 MB through fresh processes raises the peak of each by less than 64 MB."""
    layout = workshop.image("one-big")
    with daemons.start_moorage() as registry:
        assert registry.pids["moto"] not in {registry.pids[name] for name in MEASURED}
        before = {name: peak_memory(registry.pids[name]) for name in MEASURED}
        reference = f"{registry.proxy_host}/{workshop.repository}:latest"
        workshop.skopeo.push(layout, reference)
        growth = {name: peak_memory(registry.pids[name]) - before[name] for name in MEASURED}
        assert workshop.skopeo.pull(reference) == read_layout(layout)

    for name, grown in growth.items():
        record_property(f"{name} growth in bytes", grown)
        print(f"{name}: {before[name] / 1e6:.0f} MB before, peak grew by {grown / 1e6:.0f} MB")
    assert max(growth.values()) < GROWTH_LIMIT
