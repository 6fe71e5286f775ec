"""What `moorage local` can be asked for, and what its gateway is told of that.

Whatever a shell has set for another registry must never reach this one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from moorage.access import setup as access_setup
from moorage.common.data import DataNames
from moorage.local import backend, ports

# What a shell has set of these is about another registry, or for `moorage local` itself.
_NOT_INHERITED = (
    "ADMIN_TOKEN_FILE",
    "AUTH",
    # There is no function to hand commits to: a thread of the gateway finishes them.
    "MOORAGE_COMMIT_FUNCTION",
    "MOORAGE_SIGNING_KEY",
    "MOORAGE_URL",
)


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What was asked for: a port of 0 is any free one, no `aws_endpoint` means moto.

    `inline_limit` is in bytes; None leaves it to the registry's own default. With `auth` access is
    controlled, and an admin's token put into `admin_token_file`, or shown.
    """

    gateway_port: int = 8000
    proxy_port: int = 5000
    aws_endpoint: str | None = None
    head_mode: str = "body"
    inline_limit: int | None = None
    ready_file: Path | None = None
    log_level: str = "warning"
    auth: bool = False
    admin_token_file: Path | None = None

    @property
    def gateway_url(self) -> str:
        """Where the gateway is to listen, without a path: the registry's name for itself."""
        return f"http://{ports.LOOPBACK}:{self.gateway_port}"


def gateway_environment(
    base: Mapping[str, str], options: LocalOptions, names: DataNames, aws: str
) -> dict[str, str]:
    """Return the gateway's environment: what chalicelib's settings read, and the AWS SDK."""
    emulated = options.aws_endpoint is None
    environment = backend.aws_environment(base, aws, emulated=emulated)
    environment = {k: v for k, v in environment.items() if k not in _NOT_INHERITED}
    environment |= names.variables() | _access_environment(options)
    environment["MOORAGE_SERIAL_DYNAMODB"] = "1" if emulated else "0"
    # A gateway that says length 0 to every HEAD needs the strategy that is right behind it too.
    environment["MOORAGE_HEAD_STRATEGY"] = "body" if options.head_mode == "body" else "redirect"
    if options.inline_limit is not None:
        environment["MOORAGE_INLINE_LIMIT"] = str(options.inline_limit)
    return environment | _process_environment(options)


def _access_environment(options: LocalOptions) -> dict[str, str]:
    if not options.auth:
        return {"MOORAGE_AUTH": "off"}
    return {
        "MOORAGE_AUTH": "on",
        "MOORAGE_URL": options.gateway_url,
        "MOORAGE_SIGNING_KEY": access_setup.SIGNING_KEY,
    }


def _process_environment(options: LocalOptions) -> dict[str, str]:
    return {
        # glibc gives every thread an arena of its own, and chunks of 4 MiB then fill them all.
        "MALLOC_ARENA_MAX": "2",
        "POWERTOOLS_LOG_LEVEL": options.log_level.upper(),
        "PYTHONUNBUFFERED": "1",
    }
