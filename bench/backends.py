"""The two backends, started on free loopback ports, moto and MiniStack, and relays before them.

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.relay import COUNTS_PATH, Kind
from tests.clients.daemons import running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_START_TIMEOUT = 60
# Credentials that only an emulator takes: the one pair whose signatures MiniStack can verify.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def moto() -> Iterator[str]:
    """Run moto's server as ``make run`` does; gives its URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moorage.local.moto_server", "--port", str(port)]
    with _running(command, url, {}):
        yield url


@contextmanager
def ministack() -> Iterator[str]:
    """Run MiniStack with S3 and DynamoDB alone, on loopback alone; gives its URL."""
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
        yield url


@dataclass(frozen=True)
class Counted:
    """A relay before a server: what asks the server asks it instead."""

    url: str

    def counts(self) -> Counts:
        """Return what was asked so far, by kind."""
        with urllib.request.urlopen(self.url + COUNTS_PATH, timeout=10) as answer:  # noqa: S310  loopback
            rows = json.load(answer)
        return Counts.of(rows)


class Tally(NamedTuple):
    """What was counted of one kind of request."""

    requests: int = 0
    moved: int = 0
    """Bytes of bodies, both ways."""
    units: float = 0.0
    """What DynamoDB bills."""

    def less(self, other: Tally) -> Tally:
        """Return the difference."""
        return Tally(
            self.requests - other.requests, self.moved - other.moved, self.units - other.units
        )


@dataclass(frozen=True)
class Counts:
    """What was counted, by kind."""

    rows: Mapping[Kind, Tally]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Counts:
        """Read what a relay, or a file of results, has."""
        return cls(
            {
                Kind(row["service"], row["operation"], row["by_url"], row["size"]): Tally(
                    row["requests"], row["bytes"], row["units"]
                )
                for row in rows
            }
        )

    def as_rows(self) -> list[dict[str, object]]:
        """Return what `of` reads."""
        return [
            {**asdict(kind), "requests": row.requests, "bytes": row.moved, "units": row.units}
            for kind, row in self.rows.items()
        ]

    def since(self, before: Counts) -> Counts:
        """Return what came after `before`."""
        later = {kind: row.less(before.rows.get(kind, Tally())) for kind, row in self.rows.items()}
        return Counts({kind: row for kind, row in later.items() if row.requests})

    def requests(self, service: str, *operations: str, by_url: bool | None = None) -> int:
        """Return how many requests there were to a service, of these operations or of all."""
        return sum(
            row.requests
            for kind, row in self.rows.items()
            if kind.service == service
            and (not operations or kind.operation in operations)
            and (by_url is None or kind.by_url == by_url)
        )


@contextmanager
def relay(behind: str, *, slowed: bool) -> Iterator[Counted]:
    """Run a relay before a server; `slowed`: with the time that AWS takes."""
    port = free_port()
    command = [sys.executable, "-m", "bench.relay", behind, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with _running(command if slowed else [*command, "--unslowed"], url + COUNTS_PATH, {}):
        yield Counted(url)


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
