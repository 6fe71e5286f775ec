"""`moorage edge`: an edge in front of a local registry, with the settings of that registry.

This module must never log a key.
"""

from __future__ import annotations

import base64
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from chalicelib.access.signing_keys import SigningKeySet
from chalicelib.registry.tickets import FixedKeys
from moorage.common.aws import AWS_ERRORS, Aws, quiet_sdk
from moorage.common.hosts import page_origins
from moorage.common.http_server import serve_until_signal
from moorage.common.project import EDGE_FUNCTION, EDGE_TEMPLATE, load_template
from moorage.edge.distribution import Distribution
from moorage.edge.origins import ApiOrigin, BucketOrigin, Origin
from moorage.edge.runtime import EdgeFunction
from moorage.edge.server import Edge, EdgeOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_KEPT_SECONDS: Final = 60.0
_KEYS: Final = "keys"


class LocalStore:
    """The store of keys that the function reads, as `moorage deploy` fills it.

    `read` returns the keys of tickets; they are read again after a minute, for they may be rotated.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[bytes]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._monotonic = monotonic
        self._kept: tuple[float, str] | None = None

    def get(self, name: str) -> str | None:
        """Return what is kept under a name; None where there is nothing."""
        if name != _KEYS:
            return None
        if self._kept is None or self._monotonic() - self._kept[0] > _KEPT_SECONDS:
            words = (base64.urlsafe_b64encode(key).decode() for key in self._read())
            self._kept = (self._monotonic(), " ".join(word.rstrip("=") for word in words))
        return self._kept[1]


def ticket_keys(environment: Mapping[str, str]) -> Callable[[], Sequence[bytes]]:
    """Return what reads the keys of the registry whose gateway has this environment."""
    if environment.get("MOORAGE_AUTH") == "off":
        keys = FixedKeys.of(environment["MOORAGE_BUCKET"], environment["MOORAGE_UPLOADS_TABLE"])
        return keys.current
    ssm = Aws(environment["AWS_ENDPOINT_URL"]).client("ssm")
    name = environment["MOORAGE_SIGNING_KEY"]

    def read() -> Sequence[bytes]:
        try:
            found = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
        except AWS_ERRORS:
            return ()
        return SigningKeySet.parse(found).ticket_keys()

    return read


def edge_of(options: EdgeOptions, upstream: str, environment: Mapping[str, str]) -> Edge:
    """Return the edge before a gateway at `upstream` that has this environment."""
    distribution = Distribution.of(load_template(EDGE_TEMPLATE))
    store = LocalStore(ticket_keys(environment))
    code = EDGE_FUNCTION.read_text(encoding="utf-8")
    function = EdgeFunction(code, store.get, distribution.origins)
    origins: dict[str, Origin] = {
        "api": ApiOrigin(upstream),
        "bucket": BucketOrigin.at(environment),
    }
    return Edge(options, distribution, function, origins)


async def serve(options: EdgeOptions, upstream: str) -> None:
    """Serve until SIGINT or SIGTERM; prints `edge ready on URL`. Raises OSError."""
    quiet_sdk()
    options = replace(options, cors_origins=page_origins(os.environ))
    await serve_until_signal("edge", edge_of(options, upstream, os.environ))
