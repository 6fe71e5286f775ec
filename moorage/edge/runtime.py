"""Runs infra/edge.js as CloudFront's JavaScript runtime 2.0 does: the same text that is deployed.

QuickJS is the engine. This module adds what CloudFront offers a function besides JavaScript: `cf`,
`crypto`, `Buffer`, `console`, and the store of keys. It has only the parts that the function uses:
any other fails, as it might on AWS. A context belongs to the thread that made it.
Source: CloudFront Developer Guide, "JavaScript runtime 2.0 features for CloudFront Functions",
"Helper methods for key value stores", "Helper methods for origin modification".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import quickjs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

MOST_CODE: Final = 10_240
"""Bytes of the largest function that CloudFront takes."""

_IMPORTS: Final = re.compile(r"^import (cf|crypto) from '(cloudfront|crypto)';$", re.MULTILINE)
_MODULES: Final = {"cf": "cloudfront", "crypto": "crypto"}
_MEMORY: Final = 2 * 1024 * 1024

# A Buffer holds hexadecimal digits: bytes have no other form in which they cross to Python.
_PRELUDE: Final = """
const Buffer = {
  from: (text, encoding) => ({
    hex: __hex(text, encoding || 'utf8'),
    toString: function (to) { return __text(this.hex, to || 'utf8'); },
  }),
};
const __bytes = (data) => (typeof data === 'string' ? __hex(data, 'utf8') : data.hex);
const crypto = {
  createHmac: (algorithm, key) => ({
    data: '',
    update: function (data) { this.data += __bytes(data); return this; },
    digest: function (to) { return __text(__hmac(algorithm, __bytes(key), this.data), to); },
  }),
};
const cf = {
  kvs: () => ({ get: async (name) => {
    const found = __kept(name);
    if (found === null) { throw new Error('KeyNotFound'); }
    return found;
  } }),
  selectRequestOriginById: (id) => {
    if (!__select(id)) { throw new Error(`the distribution has no origin ${id}`); }
  },
};
const console = { log: (text) => { __log(String(text)); } };
"""
_CALL: Final = """
globalThis.__done = null;
globalThis.__failed = null;
__run = (text) => {
  handler(JSON.parse(text)).then(
    (made) => { __done = JSON.stringify(made); },
    (error) => { __failed = String(error); },
  );
};
"""

_log = logging.getLogger("moorage.edge")


class EdgeFunctionError(Exception):
    """The function threw: CloudFront answers 503 in its place."""


@dataclass(frozen=True, slots=True)
class EdgeOutcome:
    """What the function returned, and the origin that it chose; None: the behaviour's own."""

    value: dict[str, Any]
    origin: str | None


class EdgeFunction:
    """A function's code, with a look into its store of keys, and the origins it can choose."""

    def __init__(
        self, code: str, store: Callable[[str], str | None], origins: Collection[str]
    ) -> None:
        self._origins = origins
        self._origin: str | None = None
        self._context = quickjs.Context()
        self._context.set_memory_limit(_MEMORY)
        for name, provided in (
            ("__hex", _hex),
            ("__text", _text),
            ("__hmac", _hmac),
            ("__kept", store),
            ("__select", self._select),
            ("__log", _log.warning),
        ):
            self._context.add_callable(name, provided)
        self._context.eval(_PRELUDE)
        self._context.eval(_IMPORTS.sub(_known_import, code))
        self._context.eval(_CALL)

    def __call__(self, event: Mapping[str, Any]) -> EdgeOutcome:
        """Run it for an event; raises EdgeFunctionError."""
        self._origin = None
        try:
            self._context.get("__run")(json.dumps(event))
            while self._context.execute_pending_job():
                pass
        except (quickjs.JSException, SystemError) as error:  # SystemError: what it called raised
            raise EdgeFunctionError(str(error)) from error
        done, failed = (self._context.eval(name) for name in ("__done", "__failed"))
        self._context.eval("__done = __failed = null")
        if not isinstance(done, str):
            raise EdgeFunctionError(f"the function failed: {failed}")
        return EdgeOutcome(json.loads(done), self._origin)

    def _select(self, origin: str) -> bool:
        self._origin = origin
        return origin in self._origins


def _known_import(found: re.Match[str]) -> str:
    if _MODULES[found[1]] != found[2]:
        raise EdgeFunctionError(f"{found[2]} can't be imported as {found[1]}")
    return ""


def _hex(text: str, encoding: str) -> str:
    match encoding:
        case "utf8":
            return text.encode().hex()
        case "hex":
            return bytes.fromhex(text).hex()
        case "base64url":
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    raise ValueError(f"no encoding {encoding}")


def _text(digits: str, encoding: str) -> str:
    data = bytes.fromhex(digits)
    match encoding:
        case "utf8":
            return data.decode(errors="replace")
        case "base64":
            return base64.b64encode(data).decode()
        case "base64url":
            return base64.urlsafe_b64encode(data).decode().rstrip("=")
    raise ValueError(f"no encoding {encoding}")


def _hmac(algorithm: str, key: str, data: str) -> str:
    if algorithm not in {"sha1", "sha256", "md5"}:  # the three that CloudFront has
        raise ValueError(f"no algorithm {algorithm}")
    return hmac.new(
        bytes.fromhex(key), bytes.fromhex(data), getattr(hashlib, algorithm)
    ).hexdigest()
