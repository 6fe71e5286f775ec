"""`moorage local`: moto, the gateway, the push proxy and the edge, children of this process.

They start and stop in order. This module must never leave a child behind, and never send anything
of the user's AWS settings to moto.
"""

import contextlib
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from moorage.common.data import DataNames
from moorage.local import LocalError, access, backend, children, ports
from moorage.local.options import LocalOptions, gateway_environment, with_ports
from moorage.local.ready import LocalAddresses, announced
from moorage.local.stopping import StopRequest, asked_to_stop

__all__ = ["ChildCommands", "LocalOptions", "run"]

_WATCH_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_IS_READY = re.compile(r"(\w+) \| \1 ready on ")
# 401 is an answer too: of a registry that asks for a login.
_REGISTRY_ANSWERS = frozenset({200, 401})
_ANY_ANSWER = frozenset(range(200, 600))
_MOORAGE = (sys.executable, "-m", "moorage")


@dataclass(frozen=True, slots=True)
class ChildCommands:
    """The commands of the children, before their options. Tests use others."""

    moto: Sequence[str] = backend.MOTO_COMMAND
    gateway: Sequence[str] = (*_MOORAGE, "gateway", "--stop-with-input")
    proxy: Sequence[str] = (*_MOORAGE, "proxy", "--stop-with-input")
    edge: Sequence[str] = (*_MOORAGE, "edge", "--stop-with-input")


def run(
    options: LocalOptions,
    environment: Mapping[str, str] | None = None,
    programs: ChildCommands | None = None,
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; return 0 then, or print an error and return 1.

    Call it from the main thread. `environment` is what children inherit (default: this process's).
    """
    try:
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)
        options = with_ports(options)
        local = _Local(options, os.environ if environment is None else environment)
        with asked_to_stop() as stopping, contextlib.closing(local):
            addresses = local.start(programs or ChildCommands(), stopping)
            if addresses is not None:
                with announced(options, addresses, local.pids()):
                    local.watch(stopping)
    except (LocalError, OSError) as error:
        sys.stderr.write(f"moorage local: {error}\n")
        return 1
    return 0


@dataclass
class _Local:
    """The children, in the order they were started."""

    options: LocalOptions
    environment: Mapping[str, str]
    started: list[children.Child] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def start(self, programs: ChildCommands, stopping: StopRequest) -> LocalAddresses | None:
        """Start the children, each once the one below it answers; None if a signal came first."""
        options, names = self.options, DataNames()
        aws = options.aws_endpoint or self._start_moto(programs)
        environment = gateway_environment(self.environment, options, names, aws)
        if not self._answers(aws, _ANY_ANSWER, stopping):
            return None
        backend.create_data(aws, names, environment, cors=bool(options.cors_origins))
        admin_token = self._set_up_access(aws, names, environment)
        allowed = (word for name in options.allow_hosts for word in ("--allow-host", name))
        more = ("--log-level", options.log_level, *allowed)
        gateway, proxy = options.gateway_url, f"http://{ports.LOOPBACK}:{options.proxy_port}"
        head_mode = ("--head-mode", options.head_mode)
        every = ("--every", str(options.every_seconds)) if options.every_seconds else ()
        arguments = (
            *programs.gateway,
            "--port",
            str(options.gateway_port),
            *head_mode,
            *every,
            *more,
        )
        self._start("gateway", arguments, environment)
        if not self._answers(f"{gateway}/v2/", _REGISTRY_ANSWERS, stopping):
            return None
        edge = f"http://{ports.LOOPBACK}:{options.edge_port}"
        for name, command, url in (("proxy", programs.proxy, proxy), ("edge", programs.edge, edge)):
            port = ("--port", url.rpartition(":")[2])
            self._start(name, (*command, "--upstream", gateway, *port, *more), environment)
            if not self._answers(f"{url}/v2/", _REGISTRY_ANSWERS, stopping):
                return None
        return LocalAddresses(gateway, proxy, edge, aws, admin_token)

    def watch(self, stopping: StopRequest) -> None:
        """Wait for a signal; raises LocalError as soon as a child has ended."""
        self.ready.set()
        while not stopping.wait(_WATCH_SECONDS):
            for child in self.started:
                child.require_alive()

    def close(self) -> None:
        """Stop the children, the last one first: each is there as long as another needs it."""
        while self.started:
            self.started.pop().stop(_GRACE_SECONDS)

    def pids(self) -> dict[str, int | None]:
        """Return each child's process id; None for moto where the data is elsewhere."""
        return {"moto": None} | {child.name: child.pid for child in self.started}

    def _set_up_access(
        self, aws: str, names: DataNames, environment: Mapping[str, str]
    ) -> str | None:
        if not self.options.auth:
            return None
        place = access.AccessBackend(aws, environment, names.access_table)
        return access.set_up(place, self.options.admin_token_file)

    def _start_moto(self, programs: ChildCommands) -> str:
        base = {k: v for k, v in self.environment.items() if k != "S3_UPLOAD_PART_MIN_SIZE"}
        environment = backend.aws_environment(base, "", emulated=True)
        moto, url = backend.start_moto(environment, command=programs.moto, echo=self._echo)
        self.started.append(moto)
        return url

    def _start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.started.append(children.start(name, command, environment, echo=self._echo))

    def _answers(self, url: str, statuses: frozenset[int], stopping: StopRequest) -> bool:
        if not self.started:  # the data is elsewhere: create_data fails if it doesn't answer
            return not stopping.is_set()
        return children.wait_until_answers(
            self.started[-1], url, statuses=statuses, stopping=stopping
        )

    def _echo(self, line: str) -> None:
        # Output from before the start is over is shown only in the error of a child that dies. A
        # child may print that it is ready later than it answers.
        later = self.ready.is_set() and not _IS_READY.match(line)
        if later or self.options.log_level == "debug":
            sys.stderr.write(f"{line}\n")
