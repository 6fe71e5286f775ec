"""The gateway's memory under load."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moorage.common.project import PROJECT
from tests.support.servers import request

MIB = 1024 * 1024

PROGRAM = """
import sys, time, pybase64
from tests.support.servers import run_gateway

def function(event, context):
    data = pybase64.b64decode(event["body"])
    time.sleep(0.05)
    return {"statusCode": 202, "body": str(len(data))}

with run_gateway(function) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def resident_mib(pid: int, which: str) -> float:
    """Read a process's resident memory: its peak (VmHWM) or as it is now (VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("clients", "bound"), [(1, 40), (8, 104)])
def test_memory_stays_bounded_while_bodies_pass(clients: int, bound: int) -> None:
    """Of 40 bodies of 4 MiB memory holds those at once, and they are given back to the system.

    Eight at once are eight times 4 MiB of bytes and 5.3 MiB of base64, 75 MiB, when they meet.
    """
    body = bytes(4 * MIB)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        request(url, "PATCH", "/v2/a", b"a")
        before = resident_mib(server.pid, "VmHWM")
        with ThreadPoolExecutor(clients) as pool:
            statuses = list(pool.map(lambda _: request(url, "PATCH", "/v2/a", body)[0], range(40)))
        grown = resident_mib(server.pid, "VmHWM") - before
        kept = resident_mib(server.pid, "VmRSS") - before
        server.communicate()
    assert statuses == [202] * 40
    assert grown < bound
    assert kept < 32


def test_glibc_takes_the_settings() -> None:
    """Elsewhere nothing happens, and nothing fails."""
    program = (
        "import ctypes, json, sys\n"
        "from moorage.common.memory import return_large_buffers\n"
        "glibc = sys.platform.startswith('linux') and hasattr(ctypes.CDLL(None), 'mallopt')\n"
        "print(json.dumps([return_large_buffers(), glibc]))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    told, glibc = json.loads(output)
    assert told is glibc
