"""The environment, read once into one frozen dataclass.

This module must never hold a default that opens a deployment to the world.
"""

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

from chalicelib.limits import LAMBDA_BODY
from chalicelib.origins import parse_origins

_INLINE_LIMIT = 64 * 1024
_MANIFEST_LIMIT = 4_500_000
_TRASH_DAYS = 14
_MOST_DAYS = 3650
_DAY = "24h"
LEAST_GRACE = 24 * 3600.0
"""Seconds that a deployment's collector leaves alone what no manifest names: a push may take so."""
_MOST_TIME = _MOST_DAYS * 24 * 3600.0
_UNITS = {"s": 1.0, "h": 3600.0}
_DIGITS = 20
"""More than any size has; int() itself refuses thousands of them."""
REGION = "region"
"""What names all networks of the region that a registry is deployed in."""
REGION_FILE = Path(__file__).with_name("region_networks.txt")
"""Where `moorage deploy` packages them, one a line."""
_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
"""The variables of an emulator's address, which the SDK reads; Lambda sets neither."""

_LOOPBACK = r"http://(127\.0\.0\.1|localhost|\[::1\])(:|\Z)"
_TIME = r"([0-9]{1,10})([sh])"
_ROOT = r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|http://\[::1\](:[0-9]{1,5})?"


if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

    Network = IPv4Network | IPv6Network


class SettingsError(ValueError):
    """A variable of the environment that is missing or can't be read; the message says which."""


class HeadStrategy(enum.StrEnum):
    """How a blob's HEAD answers its length; the first is the default."""

    REDIRECT = "redirect"
    """A URL presigned for HEAD: right whatever the gateway does."""
    BODY = "body"
    """The gateway computes it from the body returned: right where it does so."""


class Settings(NamedTuple):
    """What the environment says. Sizes are bytes."""

    bucket: str
    registry_table: str
    uploads_table: str
    inline_limit: int = _INLINE_LIMIT
    """Blobs up to this size are answered directly, larger ones by a redirect to S3."""
    manifest_limit: int = _MANIFEST_LIMIT
    head_strategy: HeadStrategy = HeadStrategy.REDIRECT
    sparse_index: bool = False
    sparse_image: bool = False
    anonymous_mount: bool = False
    trash_days: int = _TRASH_DAYS
    """How long a deleted manifest can be brought back; 0: it is gone at once."""
    collect: bool = True
    """Whether garbage is collected."""
    grace: float = LEAST_GRACE
    """How long the collector leaves alone what no manifest names, in seconds."""
    collect_every: float = LEAST_GRACE
    """How long after a pass of the collector began the next one begins, in seconds."""
    commit_function: str | None = None
    """The function that finishes long commits; None: a thread of this process does (local)."""
    verify_function: str | None = None
    """The function that hashes parts of large uploads; None: this process does."""
    direct_from: "tuple[Network, ...]" = ()
    """Networks whose clients download from S3 itself, even if they use the edge."""
    cors_origins: tuple[str, ...] = ()
    """Of which origins pages may read answers; EVERY_ORIGIN alone is all. None by default."""
    open: bool = False
    """Whether there is no access control: a local registry."""
    emulated: bool = False
    """Whether S3 is an emulator, where buckets have no host names."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read MOORAGE_* variables; raises SettingsError."""
        reader = _Reader(environment)
        return cls(
            bucket=reader.text("BUCKET"),
            registry_table=reader.text("REGISTRY_TABLE"),
            uploads_table=reader.text("UPLOADS_TABLE"),
            inline_limit=reader.size("INLINE_LIMIT", _INLINE_LIMIT, LAMBDA_BODY),
            manifest_limit=reader.size("MANIFEST_LIMIT", _MANIFEST_LIMIT, LAMBDA_BODY),
            head_strategy=HeadStrategy(reader.choice("HEAD_STRATEGY", tuple(HeadStrategy))),
            sparse_index=reader.flag("SPARSE_INDEX"),
            sparse_image=reader.flag("SPARSE_IMAGE"),
            anonymous_mount=reader.flag("ANONYMOUS_MOUNT"),
            trash_days=reader.days("TRASH_DAYS", _TRASH_DAYS),
            collect=reader.choice("GC", ("1", "0")) == "1",
            grace=reader.time("GC_GRACE"),
            collect_every=reader.time("GC_EVERY"),
            commit_function=environment.get("MOORAGE_COMMIT_FUNCTION") or None,
            verify_function=environment.get("MOORAGE_VERIFY_FUNCTION") or None,
            direct_from=reader.networks("DIRECT_FROM"),
            cors_origins=reader.origins("CORS_ORIGINS"),
            open=reader.choice("AUTH", ("on", "off")) == "off",
            emulated=any(map(environment.get, _ENDPOINTS)),
        )


def is_within(address: str, networks: "tuple[Network, ...]") -> bool:
    """Whether an address is in one of some networks; a text that is no address is in none."""
    if not networks:
        return False
    from ipaddress import ip_address  # noqa: PLC0415 - likewise

    try:
        found = ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in networks)


class ApiOptions(NamedTuple):
    """The settings that the API's handlers are given; sizes in bytes."""

    inline_limit: int
    head_strategy: HeadStrategy
    manifest_limit: int
    direct_from: "tuple[Network, ...]" = ()
    cors_origins: tuple[str, ...] = ()
    realm: str = ""
    """The token endpoint's URL, which challenges name; empty: they are the gateway's."""
    service: str = ""


class AccessSettings(NamedTuple):
    """What the environment says of access control, where it is on."""

    table: str
    url: str
    """The registry's own URL, without a path: tokens are issued in its name."""
    signing_key: str
    """The parameter in SSM Parameter Store that holds the signing keys."""
    sts_endpoint: str | None = None
    """The URL of an emulator on this machine, STS included; None: AWS itself."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self | None:
        """Read MOORAGE_* variables; None if the registry is open. Raises SettingsError.

        A deployment can't be open: anybody who finds its URL could push.
        """
        reader = _Reader(environment)
        if reader.choice("AUTH", ("on", "off")) == "off":
            if environment.get("AWS_LAMBDA_FUNCTION_NAME"):
                raise SettingsError("MOORAGE_AUTH is off, but only a local registry can be open")
            return None
        if reader.flag("ANONYMOUS_MOUNT"):
            raise SettingsError(
                "MOORAGE_ANONYMOUS_MOUNT finds blobs in any repository: only an open registry can"
            )
        endpoint = environment.get("AWS_ENDPOINT_URL", "").rstrip("/")
        return cls(
            table=reader.text("ACCESS_TABLE"),
            url=reader.url("URL"),
            signing_key=reader.text("SIGNING_KEY"),
            sts_endpoint=endpoint if re.match(_LOOPBACK, endpoint) else None,
        )

    @property
    def service(self) -> str:
        """The registry's host as clients know it, with the port if it has one."""
        return urlsplit(self.url).netloc

    @property
    def realm(self) -> str:
        """The token endpoint."""
        return f"{self.url}/v2/_token"


class TelemetrySettings(NamedTuple):
    """What the environment says of metrics and traces: what costs money is off by default."""

    metrics: bool = False
    tracing: bool = False
    service: str = "moorage"
    """The name that distinguishes two registries' metrics in one account and region."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Self:
        """Read MOORAGE_METRICS, MOORAGE_TRACING and Powertools' own name; raises SettingsError."""
        reader = _Reader(environment)
        return cls(
            metrics=reader.flag("METRICS"),
            tracing=reader.flag("TRACING"),
            service=environment.get("POWERTOOLS_SERVICE_NAME") or "moorage",
        )


class _Reader(NamedTuple):
    environment: Mapping[str, str]

    def text(self, name: str) -> str:
        value = self.environment.get(f"MOORAGE_{name}", "")
        if not value:
            raise SettingsError(f"MOORAGE_{name} is not set: `make run` or a deployment sets it")
        return value

    def url(self, name: str) -> str:
        value = self.text(name)
        if not re.fullmatch(_ROOT, value):
            raise SettingsError(f"MOORAGE_{name} must be like https://HOST, not {value!r}")
        return value

    def size(self, name: str, default: int, most: int) -> int:
        value = self.environment.get(f"MOORAGE_{name}") or str(default)
        if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS):
            raise SettingsError(f"MOORAGE_{name} must be a number of bytes, not {value!r}")
        if int(value) > most:
            raise SettingsError(f"MOORAGE_{name} is {value}, but Lambda answers {most} bytes")
        return int(value)

    def days(self, name: str, default: int) -> int:
        value = self.environment.get(f"MOORAGE_{name}") or str(default)
        if not (value.isascii() and value.isdecimal() and len(value) < _DIGITS):
            raise SettingsError(f"MOORAGE_{name} must be a number of days, not {value!r}")
        if int(value) > _MOST_DAYS:
            raise SettingsError(f"MOORAGE_{name} is {value}, and {_MOST_DAYS} days are the most")
        return int(value)

    def time(self, name: str) -> float:
        """Read seconds; a deployment's are a day at least: pushes last as long as clients like.

        And a pass of the collector reads every row, which costs money.
        """
        value = self.environment.get(f"MOORAGE_{name}") or _DAY
        form = re.fullmatch(_TIME, value)
        if form is None:
            raise SettingsError(f"MOORAGE_{name} must be like 24h, or 5s, not {value!r}")
        seconds = int(form[1]) * _UNITS[form[2]]
        if seconds < LEAST_GRACE and self.environment.get("AWS_LAMBDA_FUNCTION_NAME"):
            raise SettingsError(f"MOORAGE_{name} is {value}: only a local registry may have < 24h")
        if seconds > _MOST_TIME:
            raise SettingsError(f"MOORAGE_{name} is {value}, and {_MOST_DAYS} days are the most")
        return seconds

    def networks(self, name: str) -> "tuple[Network, ...]":
        words = self.environment.get(f"MOORAGE_{name}", "").replace(",", " ").split()
        if not words:
            return ()
        if REGION in words:
            words = [*(word for word in words if word != REGION), *_region_networks(name)]
        from ipaddress import ip_network  # noqa: PLC0415 - few registries need it

        try:
            return tuple(map(ip_network, words))
        except ValueError as error:
            raise SettingsError(
                f"MOORAGE_{name} must be networks such as 10.0.0.0/8 2001:db8::/32: {error}"
            ) from None

    def origins(self, name: str) -> tuple[str, ...]:
        try:
            return parse_origins(self.environment.get(f"MOORAGE_{name}", ""))
        except ValueError as error:
            raise SettingsError(f"MOORAGE_{name}: {error}") from None

    def flag(self, name: str) -> bool:
        return self.choice(name, ("0", "1")) == "1"

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.environment.get(f"MOORAGE_{name}") or choices[0]
        if value not in choices:
            raise SettingsError(
                f"MOORAGE_{name} must be one of {', '.join(choices)}, not {value!r}"
            )
        return value


def _region_networks(name: str) -> list[str]:
    try:
        return REGION_FILE.read_text(encoding="ascii").split()
    except FileNotFoundError:
        raise SettingsError(
            f"MOORAGE_{name} is `{REGION}`, and only what `moorage deploy` packages knows the"
            " networks of its region: name networks"
        ) from None
