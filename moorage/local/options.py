"""The options of `moorage local`, its ports, and the environment that its gateway gets.

Settings that a shell has for another registry must never reach this one.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moorage.common.data import SIGNING_KEY, DataNames
from moorage.local import LocalError, backend, ports

# These are for another registry, or for `moorage local` itself.
_NOT_INHERITED = (
    "ADMIN_TOKEN_FILE",
    "AUTH",
    # There is no commit function here: a thread of the gateway finishes commits.
    "MOORAGE_COMMIT_FUNCTION",
    "MOORAGE_CORS_ORIGINS",
    "MOORAGE_VERIFY_FUNCTION",
    "MOORAGE_SIGNING_KEY",
    "MOORAGE_URL",
)
_AIRPLAY_PORT = 5000
_EDGE_PORT = 5001
_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """The options: a port of 0 is any free one, no `aws_endpoint` means moto.

    `edge_port` is 5001 where nobody says another one, and a free one where the gateway's is.

    `inline_limit` is in bytes; None: the registry's own default. With `auth` access is controlled,
    and the admin's API token is written to `admin_token_file`, or printed. Gateway and proxy answer
    to the hosts in `allow_hosts` too. `grace` is the collector's, in seconds; with `collect` off
    nothing is ever collected. Pages of `cors_origins`, as the setting has them, may ask too.
    """

    gateway_port: int = 8000
    proxy_port: int = 5000
    edge_port: int | None = None
    aws_endpoint: str | None = None
    head_mode: str = "body"
    inline_limit: int | None = None
    ready_file: Path | None = None
    log_level: str = "warning"
    auth: bool = False
    admin_token_file: Path | None = None
    allow_hosts: Sequence[str] = ()
    grace: int | None = None
    collect: bool = True
    cors_origins: str | None = None

    @property
    def gateway_url(self) -> str:
        """The gateway's URL, without a path: the registry's public URL."""
        return f"http://{ports.LOOPBACK}:{self.gateway_port}"

    @property
    def every_seconds(self) -> int | None:
        """How often scheduled functions run and the collector begins a pass; None: hourly, daily.

        Each minute over data in memory, so that the page knows a size soon after a push: there a
        pass costs next to nothing. Whenever a short grace ends, if that is sooner.
        """
        pace = _MINUTE if self.collect and self.aws_endpoint is None else _HOUR
        every = pace if self.grace is None else min(pace, self.grace)
        return every if every < _HOUR else None


def with_ports(options: LocalOptions) -> LocalOptions:
    """Return the options with ports that can be listened on, each another; raises LocalError."""
    if options.admin_token_file is not None and not options.auth:
        raise LocalError(
            "without access control there is no admin: give --auth (or AUTH=1) too, or no"
            " --admin-token-file (or ADMIN_TOKEN_FILE)"
        )
    edge = options.edge_port
    if edge is None:
        edge = _EDGE_PORT if options.gateway_port else 0
    wanted = {"gateway": options.gateway_port, "proxy": options.proxy_port, "edge": edge}
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        twin = next((other for other, taken in chosen.items() if port == taken), None)
        if twin is not None:
            raise LocalError(
                f"the {twin} and the {name} can't both have port {port}: "
                f"give one another by --{twin}-port or --{name}-port"
            )
        chosen[name] = port or ports.free_port(but={*wanted.values(), *chosen.values()})
        problem = ports.problem(chosen[name])
        if problem is not None:
            raise LocalError(port_problem(name, port, problem))
    return replace(
        options,
        gateway_port=chosen["gateway"],
        proxy_port=chosen["proxy"],
        edge_port=chosen["edge"],
    )


def port_problem(name: str, port: int, problem: str) -> str:
    """Return one line that says which port can't be used, for which child, and how to change it."""
    other = port + 1
    text = (
        f"port {port} {problem}, and the {name} needs it. Use another:"
        f" `{name.upper()}_PORT={other} make run` or `moorage local --{name}-port {other}`"
    )
    if port == _AIRPLAY_PORT and sys.platform == "darwin":
        text += " (on macOS the AirPlay Receiver holds port 5000; System Settings can turn it off)"
    return text


def gateway_environment(
    base: Mapping[str, str], options: LocalOptions, names: DataNames, aws: str
) -> dict[str, str]:
    """Return the gateway's environment, for chalicelib's settings and the AWS SDK."""
    emulated = options.aws_endpoint is None
    environment = backend.aws_environment(base, aws, emulated=emulated)
    environment = {k: v for k, v in environment.items() if k not in _NOT_INHERITED}
    environment |= names.variables() | _access_environment(options)
    # A gateway that answers every HEAD with length 0 needs the strategy for such gateways.
    environment["MOORAGE_HEAD_STRATEGY"] = "body" if options.head_mode == "body" else "redirect"
    if options.inline_limit is not None:
        environment["MOORAGE_INLINE_LIMIT"] = str(options.inline_limit)
    if options.grace is not None:
        environment["MOORAGE_GC_GRACE"] = f"{options.grace}s"
    if options.every_seconds is not None:
        environment["MOORAGE_GC_EVERY"] = f"{options.every_seconds}s"
    if options.cors_origins:
        environment["MOORAGE_CORS_ORIGINS"] = options.cors_origins
    if not options.collect:
        environment["MOORAGE_GC"] = "0"
    return environment | {
        # glibc gives every thread an arena, and chunks of 4 MiB would fill all of them.
        "MALLOC_ARENA_MAX": "2",
        "POWERTOOLS_LOG_LEVEL": options.log_level.upper(),
        "PYTHONUNBUFFERED": "1",
    }


def _access_environment(options: LocalOptions) -> dict[str, str]:
    if not options.auth:
        return {"MOORAGE_AUTH": "off"}
    return {
        "MOORAGE_AUTH": "on",
        "MOORAGE_URL": options.gateway_url,
        "MOORAGE_SIGNING_KEY": SIGNING_KEY,
    }
