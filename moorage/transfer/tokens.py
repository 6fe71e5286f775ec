"""The Authorization header of a registry's client: Basic, or bearer tokens that it fetches.

This module must never send a password without TLS to another machine, nor put a token in an error.
Source: Docker Registry v2 token authentication; RFC 6750.
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from chalicelib.limits import MIB
from chalicelib.strict_json import is_whole
from moorage.common.http import (
    AddressError,
    bearer_challenge,
    clean,
    is_loopback,
    json_object,
    safe_url,
)
from moorage.common.patience import UpstreamResponse
from moorage.transfer.content import TransferError
from moorage.transfer.credentials import KeptLogin

# Source: Docker Registry v2 token authentication, "expires_in".
_ASSUMED_SECONDS = 60
# A token is replaced when this share of its time is over, while requests with it are under way.
_USED_SHARE = 0.8
_CLIENT = "moorage"
_LARGEST = MIB

Fetch = Callable[[str, str, Mapping[str, str], bytes], Awaitable[UpstreamResponse]]
"""Sends a request: method, URL, headers, body."""


class Authorization:
    """The Authorization for one repository, or for two of one registry."""

    def __init__(
        self, registry: str, login: KeptLogin | None, scopes: Sequence[str], fetch: Fetch
    ) -> None:
        self._registry = registry
        self._login = login
        self._scopes = scopes
        self._fetch = fetch
        self._lock = asyncio.Lock()
        self._challenge: Mapping[str, str] = {}
        self._header: str | None = None
        self._until = float("inf")

    async def header(self) -> str | None:
        """Return the header's value; None if the registry has required none."""
        if time.monotonic() > self._until:
            await self._renew(self._header)
        return self._header

    async def answer(self, challenges: Sequence[str], used: str | None) -> bool:
        """Take the challenges of a 401; return whether there is another header than the one `used`.

        Raises TransferError where the token endpoint refuses or the challenge can't be answered.
        """
        for challenge in challenges:
            bearer = bearer_challenge(challenge)
            if bearer.get("realm"):
                self._challenge = bearer
                await self._renew(used)
                return self._header != used
        if any(each.lower().startswith("basic") for each in challenges) and self._login:
            self._header = _basic(self._login)
        return self._header != used

    async def widen(self, scope: str) -> None:
        """Fetch a token that has a scope more; raises TransferError, and the old one stays then."""
        async with self._lock:
            if scope in self._scopes or not self._challenge:
                return
            before, self._scopes = self._scopes, (*self._scopes, scope)
            try:
                await self._fetch_token()
            except TransferError:
                self._scopes = before
                raise

    async def _renew(self, used: str | None) -> None:
        """Fetch a token, unless another task has replaced the one that was `used`."""
        async with self._lock:
            if self._header == used or self._header is None:
                await self._fetch_token()

    async def _fetch_token(self) -> None:
        try:
            realm = safe_url(self._challenge["realm"])
        except AddressError:
            raise TransferError(
                f"{self._registry} sends logins to what is no address: nothing was sent"
            ) from None
        if realm.scheme == "http" and not self._may_be_in_the_clear(realm):
            raise TransferError(
                f"{self._registry} sends logins to {realm.hostname} without TLS: nothing was sent"
            )
        began = time.monotonic()
        answer = await self._ask(realm.geturl())
        content = json_object(answer.body[:_LARGEST])
        token = content.get("token") or content.get("access_token")
        if answer.status != HTTPStatus.OK or not isinstance(token, str):
            raise TransferError(self._refusal(answer.status, content))
        if not (token.isascii() and token.isprintable()):
            raise TransferError(f"{self._registry} gives a token that no header can hold")
        self._header = f"Bearer {token}"
        seconds = content.get("expires_in")
        self._until = began + ((is_whole(seconds) and seconds) or _ASSUMED_SECONDS) * _USED_SHARE

    def _may_be_in_the_clear(self, realm: SplitResult) -> bool:
        """Whether a password may go to a realm without TLS, as it goes to the registry.

        A registry here is asked without TLS by nobody's wish: its realm has to be here too.
        """
        registry = urlsplit(self._registry)
        here = is_loopback(realm) or not is_loopback(registry)
        return registry.scheme == "http" and here

    async def _ask(self, realm: str) -> UpstreamResponse:
        service = self._challenge.get("service")
        named = {"service": service} if service else {}
        scopes = self._scopes or self._challenge.get("scope", "").split()
        if self._login is not None and self._login.identity_token:
            form = {
                "grant_type": "refresh_token",
                "refresh_token": self._login.identity_token,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
                **named,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            return await self._fetch("POST", realm, headers, urlencode(form).encode())
        query = urlencode([*named.items(), *(("scope", scope) for scope in scopes)])
        headers = {} if self._login is None else {"Authorization": _basic(self._login)}
        return await self._fetch(
            "GET", f"{realm}{'&' if '?' in realm else '?'}{query}", headers, b""
        )

    def _refusal(self, status: int, content: Mapping[str, Any]) -> str:
        errors = content.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else {}
        said = first.get("message") if isinstance(first, dict) else None
        detail = f": {clean(said)}" if isinstance(said, str) else ""
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            who = "this login" if self._login else "anybody without a login"
            return f"{self._registry} does not let {who} in ({status}{detail}): {LOG_IN}"
        return f"{self._registry} gives no token (status {status}{detail}): try again"


LOG_IN = "log in with `moorage login`, `docker login` or `podman login`"


def _basic(login: KeptLogin) -> str:
    pair = f"{login.username}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode('ascii')}"
