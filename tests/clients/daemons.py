"""Starts the processes that tests need (a registry, dockerd, containerd) and stops just those.

Every process is stopped by its own id; whatever else runs on the machine is left alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.clients import tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

URLS_VARIABLE = "MOORAGE_CLIENTS_URLS"
_REGISTRY_TIMEOUT = 120
_DAEMON_TIMEOUT = 60
_STOP_TIMEOUT = 30
_TAIL = 1500


class NotStartedError(Exception):
    """A process didn't come up; the message has the end of its log."""


@dataclass(frozen=True)
class RegistryProcess:
    """A registry to test: where its two doors are, and the ids of its processes if known."""

    proxy: str
    gateway: str
    edge: str = ""
    """The door that plays CloudFront; empty if that is not known."""
    aws: str = ""
    """Where its data is; likewise."""
    pids: Mapping[str, int] = field(default_factory=dict)

    @property
    def proxy_host(self) -> str:
        """``host:port`` of the proxy, as it stands in a reference."""
        return urlsplit(self.proxy).netloc

    @property
    def edge_host(self) -> str:
        """``host:port`` of the edge."""
        return urlsplit(self.edge).netloc

    @property
    def gateway_host(self) -> str:
        """``host:port`` of the gateway, which takes no request above its limits."""
        return urlsplit(self.gateway).netloc


@contextmanager
def registry() -> Iterator[RegistryProcess]:
    """Give the registry that ``MOORAGE_CLIENTS_URLS`` names, else start one of our own.

    The variable reads ``proxy=http://HOST:PORT gateway=http://HOST:PORT``.
    """
    named = os.environ.get(URLS_VARIABLE)
    if named:
        urls = dict(part.split("=", 1) for part in named.split())
        yield RegistryProcess(proxy=urls["proxy"], gateway=urls["gateway"])
    else:
        with start_moorage() as started:
            yield started


@contextmanager
def start_moorage(*options: str, env: Mapping[str, str] | None = None) -> Iterator[RegistryProcess]:
    """Run ``moorage local`` with more options on free ports until the block ends.

    ``env`` is added to this process's environment: that is how the registry's own settings go in.
    """
    environment = {**os.environ, **(env or {})}
    with tempfile.TemporaryDirectory(prefix="moorage-clients-") as folder:
        ready_file = Path(folder) / "ready.json"
        command = [
            str(Path(sys.executable).with_name("moorage")),
            *("local", "--gateway-port", "0", "--proxy-port", "0", "--edge-port", "0"),
            *("--ready-file", str(ready_file), *options),
        ]
        with running(command, ready_file.exists, _REGISTRY_TIMEOUT, signal.SIGINT, environment):
            ready = json.loads(ready_file.read_text())
            doors = {name: ready[name] for name in ("proxy", "gateway", "edge", "aws")}
            yield RegistryProcess(**doors, pids=ready["pids"])


@contextmanager
def dockerd(program: str = "dockerd", store: str | None = None) -> Iterator[str]:
    """Run a docker daemon of our own and give its socket as a ``unix://`` address.

    ``store`` is the containerd that a newer docker keeps images in; an older one has its own store.
    """
    with _root_folder("dockerd") as folder:
        address = f"unix://{folder}/docker.sock"
        command = [
            *(_installed(program), "--host", address, "--config-file", f"{folder}/none.json"),
            *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
            *("--pidfile", f"{folder}/pid", f"--storage-driver={'native' if store else 'vfs'}"),
            *("--iptables=false", "--ip6tables=false", "--bridge=none"),
        ]
        (folder / "none.json").write_text("{}")
        environment = dict(os.environ)
        if store is not None:
            programs = folder / "bin"
            programs.mkdir()
            (programs / "containerd").symlink_to(_installed(store))
            environment["PATH"] = f"{programs}:{os.environ['PATH']}"
            # Debian's docker command speaks an older version than it takes unasked.
            environment["DOCKER_MIN_API_VERSION"] = "1.24"
        answers = _succeeds("docker", "--host", address, "version")
        with running(command, answers, _DAEMON_TIMEOUT, env=environment):
            yield address


@contextmanager
def containerd(program: str = "containerd", client: str = "ctr") -> Iterator[str]:
    """Run a containerd of our own and give the path of its socket; ``client`` is its ctr."""
    with _root_folder("containerd") as folder:
        address = f"{folder}/containerd.sock"
        settings = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        (folder / "config.toml").write_text(settings)
        command = [
            *(_installed(program), "--config", f"{folder}/config.toml"),
            *("--root", f"{folder}/root", "--state", f"{folder}/state", "--address", address),
        ]
        with running(command, _succeeds(client, "--address", address, "version"), _DAEMON_TIMEOUT):
            yield address


@contextmanager
def buildkitd() -> Iterator[str]:
    """Run a buildkitd of our own and give the address of its socket."""
    with _root_folder("buildkitd") as folder:
        address = f"unix://{folder}/buildkitd.sock"
        (folder / "none.toml").write_text("")
        command = [
            *(_installed("buildkitd"), "--config", f"{folder}/none.toml", "--addr", address),
            *("--root", f"{folder}/root", "--containerd-worker=false"),
            # It needs no overlay file system.
            *("--oci-worker=true", "--oci-worker-snapshotter=native"),
        ]
        answers = _succeeds("buildctl", "--addr", address, "debug", "workers")
        with running(command, answers, _DAEMON_TIMEOUT):
            yield address


@contextmanager
def running(
    command: Sequence[str],
    ready: Callable[[], bool],
    timeout: float,
    stop_signal: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process from the moment ``ready`` is true until the block ends.

    Raises NotStartedError, with the end of its output, when it ends early or is not ready after
    ``timeout`` seconds.
    """
    with tempfile.TemporaryFile() as log:
        # A pipe that nobody writes to: Moorage's processes end when their input does.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=env,
            cwd=tools.REPOSITORY,
        )
        try:
            _wait_until(ready, process, timeout, log.fileno())
            yield process
        finally:
            stop(process, stop_signal)


def stop(process: subprocess.Popen[bytes], stop_signal: signal.Signals) -> None:
    """Ask a process of ours to end, and make it end if it doesn't."""
    if process.poll() is None:
        process.send_signal(stop_signal)
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        # It leads a session of its own, so this reaches its children and nobody else's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def _wait_until(
    ready: Callable[[], bool], process: subprocess.Popen[bytes], timeout: float, log: int
) -> None:
    deadline = time.monotonic() + timeout
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            size = os.fstat(log).st_size
            tail = os.pread(log, _TAIL, max(0, size - _TAIL)).decode(errors="replace")
            status = process.poll()
            how = f"not ready after {timeout} s" if status is None else f"ended with {status}"
            raise NotStartedError(f"{process.args!r}: {how}\n{tail}")
        time.sleep(0.1)


def _succeeds(name: str, *arguments: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            tools.run(name, *arguments, timeout=10)
        except tools.ClientError:
            return False
        return True

    return answers


def _installed(name: str) -> str:
    path = tools.program(name)
    if path is None:
        raise NotStartedError(f"{name} is not installed")
    return path


@contextmanager
def _root_folder(name: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        raise NotStartedError(f"{name} needs root")
    # Short: a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix=f"m-{name}-", ignore_cleanup_errors=True) as folder:
        try:
            yield Path(folder)
        finally:
            _unmount_below(folder)


def _unmount_below(folder: str) -> None:
    """Unmount what a daemon that ended badly has left mounted in its own folder."""
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount == folder or mount.startswith(f"{folder}/"):
            subprocess.run(["umount", mount], check=False, capture_output=True)
