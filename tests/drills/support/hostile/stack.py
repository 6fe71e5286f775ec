"""A registry in processes of its own, to be killed and besieged: moto, the gateway, the proxy.

Every process is stopped by its own id when the block ends; nothing listens but on loopback.
"""

from __future__ import annotations

import http.client
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from moorage.local import children, ports
from tests.emulators import backends

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

_MOORAGE = (sys.executable, "-m", "moorage")
_READY = frozenset({200})
_PATIENCE = 600

Answer = tuple[int, http.client.HTTPMessage, bytes]


@dataclass(frozen=True)
class Usage:
    """What a process holds: resident bytes, threads, open file descriptors."""

    resident: int
    threads: int
    files: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read it from /proc."""
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return cls(
            resident=int(fields["VmRSS"].split()[0]) * 1024,
            threads=int(fields["Threads"]),
            files=sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
        )

    def __str__(self) -> str:
        mib = self.resident / (1 << 20)
        return f"{mib:.0f} MiB, {self.threads} threads, {self.files} files"


class KilledProcess:
    """The gateway, or the proxy, as a child process whose port stays the same when it is killed."""

    def __init__(self, name: str, environment: dict[str, str], *options: str) -> None:
        self._name = name
        self._environment = environment
        self._port = ports.free_port()
        self._options = options
        self.url = f"http://{ports.LOOPBACK}:{self._port}"
        self._child = self._start()

    @property
    def pid(self) -> int:
        """The id of the process that runs now."""
        return self._child.pid

    def wait(self) -> None:
        """Return once it answers."""
        children.wait_until_answers(self._child, f"{self.url}/v2/", statuses=_READY)

    def kill(self) -> None:
        """Kill it by SIGKILL and start another at once, without waiting for that one to answer."""
        os.kill(self._child.pid, signal.SIGKILL)
        self._child.stop()
        self._child = self._start()

    def stop(self) -> None:
        """End it."""
        self._child.stop()

    def _start(self) -> children.Child:
        command = (*_MOORAGE, self._name, "--stop-with-input", "--port", str(self._port))
        return children.start(self._name, (*command, *self._options), self._environment)


@dataclass(frozen=True)
class RegistryProcesses:
    """The processes, and where clients push: to the proxy, or to `upstream`."""

    backend: backends.Backend
    gateway: KilledProcess
    upstream: str
    """The URL of the gateway, or of what listens before it, without a path."""
    proxy: KilledProcess


@contextmanager
def running(
    gateway_options: Sequence[str] = (),
    proxy_options: Sequence[str] = (),
    between: Callable[[str], AbstractContextManager[str]] | None = None,
) -> Iterator[RegistryProcesses]:
    """Run all three until the block ends, with options of the two commands.

    `between` listens before the gateway, and before moto: it is given a URL and yields its own.
    """
    with ExitStack() as stack:
        backend = stack.enter_context(backends.moto_backend(strict=False))
        moto = backend.endpoint_url
        aws = stack.enter_context(between(moto)) if between else moto
        tapped = {name: value.replace(moto, aws) for name, value in backend.environment.items()}
        environment = dict(os.environ) | tapped | {"MALLOC_ARENA_MAX": "2"}
        gateway = KilledProcess("gateway", environment, *gateway_options)
        stack.callback(gateway.stop)
        gateway.wait()
        upstream = stack.enter_context(between(gateway.url)) if between else gateway.url
        proxy = KilledProcess("proxy", environment, "--upstream", upstream, *proxy_options)
        stack.callback(proxy.stop)
        proxy.wait()
        yield RegistryProcesses(backend, gateway, upstream, proxy)


def ask(
    host: str,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Make one request, chunked if its body is an iterator; return status, headers and body."""
    connection = http.client.HTTPConnection(host, timeout=_PATIENCE)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def pull(host: str, path: str) -> bytes:
    """Return the bytes of a blob, from here or from where its redirect leads."""
    status, headers, body = ask(host, "GET", path)
    if status == 307:
        parts = urlsplit(headers["Location"])
        status, _, body = ask(parts.netloc, "GET", f"{parts.path}?{parts.query}")
    assert status == 200, status
    return body
