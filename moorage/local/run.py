"""`moorage local`: moto, the gateway and the push proxy, children of this process.

They start and stop in order. This must never leave a child behind, and never send anything of
the user's AWS settings to moto.
"""

import contextlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from moorage.access import setup as access_setup
from moorage.common.data import DataNames
from moorage.local import access, backend, children, guide, ports
from moorage.local.options import LocalOptions, gateway_environment
from moorage.local.stopping import StopRequest, asked_to_stop

__all__ = ["LocalError", "LocalOptions", "Programs", "gateway_environment", "run"]

_WATCH_SECONDS = 0.2
_GRACE_SECONDS = 10.0
_IS_READY = re.compile(r"(\w+) \| \1 ready on ")
# 401 is an answer too: the registry is there, and asks who we are.
_REGISTRY_ANSWERS = frozenset({200, 401})
_ANY_ANSWER = frozenset(range(200, 600))
_MOORAGE = (sys.executable, "-m", "moorage")
_NO_ADMIN = (
    "without access control there is no admin: give --auth (or AUTH=1) too, or no"
    " --admin-token-file (or ADMIN_TOKEN_FILE)"
)


class LocalError(Exception):
    """The local registry can't start; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The commands that children run; their options follow. Tests put others here."""

    moto: Sequence[str] = backend.MOTO_COMMAND
    gateway: Sequence[str] = (*_MOORAGE, "gateway", "--stop-with-input")
    proxy: Sequence[str] = (*_MOORAGE, "proxy", "--stop-with-input")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where everything is: URLs without a path."""

    gateway: str
    proxy: str
    aws: str
    admin_token: str | None = field(repr=False)
    """What opens it; None: it is open."""


def run(
    options: LocalOptions,
    environment: Mapping[str, str] | None = None,
    programs: Programs | None = None,
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; return 0 then, or 1 after saying what went wrong.

    Call it from the main thread. `environment` is what children inherit (default: this one's).
    """
    try:
        if options.ready_file is not None:
            options.ready_file.unlink(missing_ok=True)
        options = _settled(options)
        local = _Local(options, os.environ if environment is None else environment)
        with asked_to_stop() as stopping, contextlib.closing(local):
            addresses = local.start(programs or Programs(), stopping)
            if addresses is not None:
                with _announced(options, addresses, local.pids()):
                    local.watch(stopping)
    except (LocalError, children.ChildError, backend.BackendError, OSError) as error:
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

    def start(self, programs: Programs, stopping: StopRequest) -> Addresses | None:
        """Start everything, each once the one below it answers; None if asked to stop first."""
        options, names = self.options, DataNames()
        aws = options.aws_endpoint or self._start_moto(programs)
        environment = gateway_environment(self.environment, options, names, aws)
        if not self._answers(aws, _ANY_ANSWER, stopping):
            return None
        backend.create_data(aws, names, environment)
        admin_token = self._set_up_access(aws, names, environment)
        log_level = ("--log-level", options.log_level)
        gateway, proxy = options.gateway_url, f"http://{ports.LOOPBACK}:{options.proxy_port}"
        head_mode = ("--head-mode", options.head_mode)
        arguments = (*programs.gateway, "--port", str(options.gateway_port), *head_mode, *log_level)
        self._start("gateway", arguments, environment)
        if not self._answers(f"{gateway}/v2/", _REGISTRY_ANSWERS, stopping):
            return None
        port = ("--port", str(options.proxy_port))
        arguments = (*programs.proxy, "--upstream", gateway, *port, *log_level)
        self._start("proxy", arguments, environment)
        if not self._answers(f"{proxy}/v2/", _REGISTRY_ANSWERS, stopping):
            return None
        return Addresses(gateway, proxy, aws, admin_token)

    def watch(self, stopping: StopRequest) -> None:
        """Wait until asked to stop; raise ChildError as soon as a child has ended."""
        self.ready.set()
        while not stopping.wait(_WATCH_SECONDS):
            for child in self.started:
                child.require_alive()

    def close(self) -> None:
        """Stop the children, the last one first: nothing loses what it stands on."""
        while self.started:
            self.started.pop().stop(_GRACE_SECONDS)

    def pids(self) -> dict[str, int | None]:
        """Return each child's process id; None for moto when the data is elsewhere."""
        return {"moto": None} | {child.name: child.pid for child in self.started}

    def _set_up_access(
        self, aws: str, names: DataNames, environment: Mapping[str, str]
    ) -> str | None:
        if not self.options.auth:
            return None
        place = access.Place(aws, environment, names.access_table)
        return access.set_up(place, self.options.admin_token_file)

    def _start_moto(self, programs: Programs) -> str:
        base = {k: v for k, v in self.environment.items() if k != "S3_UPLOAD_PART_MIN_SIZE"}
        environment = backend.aws_environment(base, "", emulated=True)
        moto, url = backend.start_moto(environment, command=programs.moto, echo=self._echo)
        self.started.append(moto)
        return url

    def _start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.started.append(children.start(name, command, environment, echo=self._echo))

    def _answers(self, url: str, statuses: frozenset[int], stopping: StopRequest) -> bool:
        if not self.started:  # the data is elsewhere, and create_data says if it doesn't answer
            return not stopping.is_set()
        return children.wait_until_answers(
            self.started[-1], url, statuses=statuses, stopping=stopping
        )

    def _echo(self, line: str) -> None:
        # What a child says while it starts is shown if it dies of it. That it is ready it may say
        # later than it answers.
        later = self.ready.is_set() and not _IS_READY.match(line)
        if later or self.options.log_level == "debug":
            sys.stderr.write(f"{line}\n")


def _settled(options: LocalOptions) -> LocalOptions:
    """Put ports in the place of those that may be any; raises LocalError."""
    if options.admin_token_file is not None and not options.auth:
        raise LocalError(_NO_ADMIN)
    gateway = options.gateway_port or ports.free_port(options.proxy_port)
    proxy = options.proxy_port or ports.free_port(gateway)
    if gateway == proxy:
        raise LocalError(
            f"the gateway and the proxy can't both have port {gateway}: "
            "give one another by --gateway-port or --proxy-port"
        )
    for port, who, name in ((gateway, "the gateway", "gateway"), (proxy, "the proxy", "proxy")):
        problem = ports.problem(port)
        if problem is not None:
            raise LocalError(
                guide.port_problem(
                    port=port,
                    problem=problem,
                    who=who,
                    option=f"--{name}-port",
                    variable=f"{name.upper()}_PORT",
                )
            )
    return replace(options, gateway_port=gateway, proxy_port=proxy)


@contextlib.contextmanager
def _announced(
    options: LocalOptions, addresses: Addresses, pids: Mapping[str, int | None]
) -> Iterator[None]:
    """Tell people and programs that it is ready; the file goes when the block ends."""
    text = guide.ready(
        proxy=addresses.proxy,
        gateway=addresses.gateway,
        aws=addresses.aws,
        in_memory=options.aws_endpoint is None,
        access=_access_text(options, addresses),
    )
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
    path = options.ready_file
    if path is None:
        yield
        return
    content = {
        "gateway": addresses.gateway,
        "proxy": addresses.proxy,
        "aws": addresses.aws,
        "pids": dict(pids),
        "auth": options.auth,
        "admin_token_file": _text(options.admin_token_file),
    }
    # Renamed into place: whoever sees the file can read all of it.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _access_text(options: LocalOptions, addresses: Addresses) -> str:
    if addresses.admin_token is None:
        return guide.OPEN
    return guide.closed(
        proxy=addresses.proxy,
        gateway=addresses.gateway,
        user=access_setup.ADMIN_NAME,
        token=addresses.admin_token,
        token_file=options.admin_token_file,
    )


def _text(path: Path | None) -> str | None:
    # Absolute: whoever reads the ready file may stand in another directory.
    return None if path is None else str(path.absolute())
