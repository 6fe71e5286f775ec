"""Child processes: started, watched, stopped, and never left behind.

Every child's standard input is a pipe that nobody writes to. It ends when the parent ends, even
by SIGKILL, and a child that called `exit_with_parent` then stops. This module must never stop a
process that it did not start.
"""

import contextlib
import http.client
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from moorage.common.project import PROJECT
from moorage.local import LocalError
from moorage.local.stopping import StopRequest

_TAIL_LINES = 20
_POLL_SECONDS = 0.05


class Child:
    """A running child process; its output is passed on, and the last lines are kept."""

    def __init__(
        self, name: str, process: "subprocess.Popen[bytes]", echo: Callable[[str], None] | None
    ) -> None:
        self.name = name
        self._process = process
        self._lines: deque[str] = deque(maxlen=_TAIL_LINES)
        self._echo = echo
        self._pump = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        self._pump.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def require_alive(self) -> None:
        """Raise LocalError if it has ended."""
        code = self._process.poll()
        if code is not None:
            self._pump.join(timeout=1)
            how = f"exit status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
            raise LocalError(f"{self.name} ended ({how}){self._tail()}")

    def stop(self, grace_seconds: float = 5.0) -> None:
        """End it by SIGTERM, and by SIGKILL after `grace_seconds`; it may have ended already."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._pump.join(timeout=1)

    def give_up(self, what: str) -> LocalError:
        """Return the error of a child that runs but did not do `what`."""
        return LocalError(f"{self.name} did not {what}{self._tail()}")

    def _tail(self) -> str:
        if not self._lines:
            return "; it said nothing"
        return "; its last lines:\n" + "\n".join(f"    {line}" for line in self._lines)

    def _read(self) -> None:
        output = self._process.stdout
        if output is None:
            return
        with output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip()
                self._lines.append(line)
                if self._echo is not None:
                    self._echo(f"{self.name} | {line}")


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    echo: Callable[[str], None] | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a child in the project's folder, in a process group of its own.

    With its own group, a terminal's Ctrl-C reaches only the parent, which stops its children in
    order. `echo` gets each line of output, from a thread.
    """
    process = subprocess.Popen(  # noqa: S603 - the commands are this package's own
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(environment),
        cwd=PROJECT,
        pass_fds=pass_fds,
        process_group=0,
    )
    return Child(name, process, echo)


def wait_until_answers(
    child: Child,
    url: str,
    *,
    statuses: frozenset[int],
    timeout_seconds: float = 60.0,
    stopping: StopRequest | None = None,
) -> bool:
    """Poll `GET url` until its status is one of `statuses`.

    Return True then; False when `stopping` was set first. Raises LocalError when the child ended or
    the time was over.
    """
    stopping = stopping or StopRequest()
    deadline = time.monotonic() + timeout_seconds
    seen: int | str = "nothing"
    while not stopping.is_set():
        child.require_alive()
        try:
            seen = _status(url)
        except (OSError, http.client.HTTPException) as error:
            seen = str(error) or type(error).__name__
        if seen in statuses:
            return True
        if time.monotonic() > deadline:
            raise child.give_up(f"answer {url} within {timeout_seconds:.0f} s (last: {seen})")
        stopping.wait(_POLL_SECONDS)
    return False


def _status(url: str) -> int:
    # http.client and not urllib, which would use a proxy of the environment.
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=5)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def exit_with_parent(grace_seconds: float = 5.0) -> None:
    """In a child: stop this process when its standard input ends.

    SIGTERM first, so that a server can finish its requests; after the grace a hard exit.
    """
    threading.Thread(
        target=_exit_at_end_of_input, args=(grace_seconds,), name="parent-watch", daemon=True
    ).start()


def _exit_at_end_of_input(grace_seconds: float) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os._exit(1)
