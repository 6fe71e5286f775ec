"""The two backends, started on free loopback ports: moto (with a counter) and MiniStack.

Both hold everything in memory and are thrown away; nothing here can reach a real AWS account.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.counting_moto import COUNTS_PATH
from tests.clients.daemons import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_START_TIMEOUT = 60
# Credentials that only an emulator takes.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Backend:
    """A running backend; ``counts`` reads requests so far by service, None where nobody counts."""

    name: str
    url: str
    counts: Callable[[], Mapping[str, int] | None]


@contextmanager
def moto() -> Iterator[Backend]:
    """Run moto's server as ``make run`` does, counting requests."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def counts() -> Mapping[str, int]:
        with urllib.request.urlopen(url + COUNTS_PATH, timeout=10) as answer:  # noqa: S310  loopback
            found: Mapping[str, int] = json.load(answer)
            return found

    command = [sys.executable, "-m", "bench.counting_moto", "--port", str(port)]
    with _running(command, url, {}):
        yield Backend("moto", url, counts)


@contextmanager
def ministack() -> Iterator[Backend]:
    """Run MiniStack with S3 and DynamoDB alone, on loopback alone."""
    port = free_port()
    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "s3,dynamodb",
        "LOG_LEVEL": "WARNING",
        # These two would listen on every interface, and this would speak to a docker daemon.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": "unix:///nonexistent/docker.sock",
    }
    program = str(Path(sys.executable).with_name("ministack"))
    url = f"http://127.0.0.1:{port}"
    with _running([program], url, environment):
        yield Backend("ministack", url, lambda: None)


BACKENDS = {"moto": moto, "ministack": ministack}


def free_port() -> int:
    """Return a loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(url: str) -> bool:
    """Whether an HTTP server answers at all; any status will do."""
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310  loopback
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def _running(command: list[str], url: str, environment: Mapping[str, str]) -> Iterator[None]:
    merged = {**os.environ, **CREDENTIALS, **environment}
    with running(command, lambda: answers(url), _START_TIMEOUT, env=merged):
        yield
