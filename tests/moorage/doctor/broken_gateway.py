"""A registry in this process, and a gateway before it that breaks one thing.

The registry is whole: app.py's routes, its authorizer and its token endpoint, behind moorage's own
gateway, over memory. The broken gateway must change only what a Break says; it
serves presigned URLs too, for the one method that each was signed for, as S3 does.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp import web
from chalice.app import AuthRequest, AuthResponse
from chalice.app import Response as ChaliceResponse
from multidict import CIMultiDict
from yarl import URL

from chalicelib.access.authorizer_context import to_context
from chalicelib.access.tokens import TokenIssuer
from chalicelib.api.authorization import GrantedAccess
from chalicelib.api.dispatch import Api, answer
from chalicelib.api.headers import parse_range
from chalicelib.api.messages import MoorageChalice, current, to_chalice
from chalicelib.errors import RangeInvalidError
from chalicelib.registry.outcomes import PresignedPut
from chalicelib.registry.service import Limits
from chalicelib.settings import ApiOptions, HeadStrategy
from moorage.common.hosts import AllowedHosts
from moorage.common.http import registry_url
from moorage.common.http_server import BoundedServer
from moorage.doctor import run as doctor
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import Wire
from moorage.gateway.response import HeadMode
from moorage.gateway.rest_api import rest_api_of
from moorage.gateway.server import GatewayOptions
from moorage.local import ports
from tests.support.access import AccessWorld
from tests.support.fake_registry import in_background, listen, read_body
from tests.support.registries import registry_in_memory
from tests.support.servers import run_gateway

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterator

    from moorage.doctor.checklist import CheckResult
    from tests.support.memory_objects import MemoryObjectStore

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
STORE = "/_store"
"""Where S3 is, as the broken gateway's clients see it."""

_REALM = re.compile(r'realm="https?://[^/"]+')
_SIGNED = re.compile(r"memory:([A-Z]+):(\d+):(.+)")
_HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})


@dataclass
class LocalAccess(AccessWorld):
    """Access control of a registry at this URL."""

    url: str = ""

    @property
    def token_issuer(self) -> TokenIssuer:
        """The registry's token issuer."""
        return TokenIssuer(self.keys, self.url, urlsplit(self.url).netloc)


@dataclass(frozen=True)
class MemoryRegistry:
    """A registry: its URL, its objects, and its access control (None: it is open)."""

    url: str = ""
    objects: MemoryObjectStore | None = None
    access: LocalAccess | None = None


def visit_to(
    registry: MemoryRegistry,
    name: str,
    grant: str = "team/**:pull,push,delete",
    url: str = "",
    **options: Any,  # noqa: ANN401 - `large` and `keep`
) -> Visit:
    """Visit a registry with an API token and a repository that no other visit has."""
    assert registry.access is not None
    login = UserPassword("somebody", registry.access.credential(name, grant))
    repository = "team/" + re.sub("[^a-z0-9]+", "-", name.lower())
    return Visit(Wire(registry_url(url or registry.url)), repository, login, **options)


def examined(visit: Visit, *only: str) -> dict[str, CheckResult]:
    """Run some checks, and those that they need; return the results by the checks' names."""
    return {result.check.name: result for result in doctor.examine(visit, frozenset(only))}


@contextlib.contextmanager
def run_registry(
    *, counts: bool, strategy: HeadStrategy, closed: bool = True
) -> Iterator[MemoryRegistry]:
    """Serve a registry over memory; its gateway `counts` a HEAD's body, or sends length 0."""
    port = ports.free_port()
    url = f"http://{ports.LOOPBACK}:{port}"
    under = registry_in_memory(Limits())
    options = ApiOptions(inline_limit=1024 * 1024, head_strategy=strategy, manifest_limit=4_500_000)
    api, access = Api(lambda: under.registry, options), None
    if closed:
        access = LocalAccess(under.clock.now, url=url)
        options = options._replace(realm=f"{url}/v2/_token", service=urlsplit(url).netloc)
        granted = GrantedAccess(
            access.store, under.clock.now, lambda: under.registry, access.cursors
        )
        api = Api(lambda: under.registry, options, granted, access.token_service)
    app = _chalice(api, access)
    environment = {"MOORAGE_URL": url, "MOORAGE_AUTH": "on" if closed else "off"}
    head_mode = HeadMode.BODY if counts else HeadMode.ZERO
    listening = GatewayOptions(port=port, head_mode=head_mode)
    with run_gateway(app, listening, rest_api_of(app, environment)) as served:
        yield MemoryRegistry(served, under.objects, access)


def _chalice(api: Api, access: LocalAccess | None) -> MoorageChalice:
    """Return what app.py is, for one API."""
    app = MoorageChalice("doctor")

    def authorize(request: AuthRequest) -> AuthResponse:
        assert access is not None
        principal = access.authenticator.identify(request.token)
        if principal is None:
            raise Exception("Unauthorized")  # noqa: TRY002 - API Gateway's word for 401
        return AuthResponse(["*"], principal.id, to_context(principal))

    authorizer = app.authorizer(name="authorizer", ttl_seconds=60)(authorize)

    def view() -> ChaliceResponse:
        return to_chalice(answer(lambda: api, partial(current, app)))

    for path in ("/", "/{proxy+}"):
        app.route(path, methods=METHODS, content_types=[], authorizer=authorizer)(view)
    app.route("/_token", methods=["GET", "HEAD", "POST"], content_types=[])(view)
    return app


@dataclass
class SentRequest:
    """A request on its way; `state` lasts as long as the broken gateway does."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    state: dict[str, Any]
    chunked: bool = False

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


@dataclass
class Reply:
    """An answer on its way; `length` is sent instead of the true one."""

    status: int
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""
    length: str | None = None

    @classmethod
    def of(cls, status: int, body: bytes = b"", **headers: str) -> Reply:
        """Write an answer; `_` stands for a hyphen."""
        return cls(status, CIMultiDict((k.replace("_", "-"), v) for k, v in headers.items()), body)


@dataclass(frozen=True)
class Break:
    """What is broken: requests (None passes them on), or answers, which are changed in place.

    A request that `ask` answers never reaches the registry, nor one at which it raises
    ConnectionAbortedError, which nobody answers; with `hang_up` none is answered.
    """

    on_request: Callable[[SentRequest], Reply | None] = lambda _: None
    on_reply: Callable[[SentRequest, Reply], None] = lambda _sent, _reply: None
    hang_up: bool = False
    tls: ssl.SSLContext | None = None


@contextlib.contextmanager
def run_broken(registry: MemoryRegistry, broken: Break) -> Iterator[str]:
    """Serve a broken gateway before a registry, and give its URL."""
    gateway = _BrokenGateway(registry, broken)
    with in_background(gateway.start):
        yield gateway.url


class _BrokenGateway:
    def __init__(self, registry: MemoryRegistry, broken: Break) -> None:
        self._registry = registry
        self._broken = broken
        self._state: dict[str, Any] = {}
        self.url = ""

    async def start(self) -> Callable[[], Awaitable[None]]:
        """Listen; return what ends it."""
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        server = BoundedServer(self._handle, AllowedHosts("localhost"), handler_cancellation=False)
        port, end = await listen(server, self._broken.tls)
        scheme = "http" if self._broken.tls is None else "https"
        self.url = f"{scheme}://localhost:{port}"

        async def close() -> None:
            await self._client.close()
            await end()

        return close

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        transport = request.transport
        assert transport is not None
        if self._broken.hang_up:
            transport.abort()
            return web.Response()
        try:
            body = await read_body(request)
        except (ConnectionError, web.RequestPayloadError):
            self._state["cut"] = request.raw_path.partition("?")[0]
            transport.abort()
            return web.Response()
        headers = CIMultiDict(
            (k, v) for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP
        )
        chunked = "Transfer-Encoding" in request.headers
        sent = SentRequest(request.method, request.raw_path, headers, body, self._state, chunked)
        try:
            reply = self._broken.on_request(sent)
        except ConnectionAbortedError:
            transport.abort()
            return web.Response()
        reply = reply or (
            self._stored(sent) if sent.path.startswith(STORE) else await self._forwarded(sent)
        )
        self._broken.on_reply(sent, reply)
        # By hand: a server that knows HTTP would mend what is to be broken.
        transport.write(_on_the_wire(sent, reply))
        transport.close()
        return web.Response()

    async def _forwarded(self, sent: SentRequest) -> Reply:
        headers = CIMultiDict((k, v) for k, v in sent.headers.items() if k.lower() != "host")
        data = sent.body if "Content-Length" in headers or sent.chunked else None
        headers.popall("Content-Length", None)
        async with self._client.request(
            sent.method,
            URL(self._registry.url + sent.target, encoded=True),
            headers=headers,
            data=data,
            allow_redirects=False,
        ) as upstream:
            reply = Reply(upstream.status, CIMultiDict(upstream.headers), await upstream.read())
        if sent.method == "HEAD":
            reply.length = reply.headers.get("Content-Length")
        self._lead_here(reply)
        return reply

    def _stored(self, sent: SentRequest) -> Reply:
        """Answer as S3 does: without a login, for the method that the URL was signed for."""
        method, _, key = sent.path.removeprefix(f"{STORE}/").partition("/")
        objects = self._registry.objects
        if objects is not None and (method, sent.method) == ("PART", "PUT"):
            part = PresignedPut(f"memory:PART:{unquote(key)}", {})
            return Reply.of(objects.put_part_by_url(part, sent.body))
        if method != sent.method or objects is None:
            return Reply.of(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        if method == "PUT":
            names = ("digest", "size")
            bound = {name: sent.headers[name] for name in names if name in sent.headers}
            put = PresignedPut(f"memory:PUT:{unquote(key)}", bound)
            return Reply.of(objects.put_by_url(put, sent.body))
        data = objects.get(key)
        try:
            span = parse_range(sent.headers.get("Range"), len(data))
        except RangeInvalidError:
            return Reply.of(416)
        first, last = span or (0, len(data) - 1)
        wanted = data[first : last + 1]
        reply = Reply.of(200 if span is None else 206, wanted)
        if span is not None:
            reply.headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        if sent.method == "HEAD":
            reply.length = str(len(wanted))
        return reply

    def _lead_here(self, reply: Reply) -> None:
        """Name this gateway where the registry names itself or S3."""
        headers = reply.headers
        for name in ("WWW-Authenticate", "x-amzn-Remapped-WWW-Authenticate"):
            if name in headers:
                headers[name] = _REALM.sub(f'realm="{self.url}', headers[name])
        signed = _SIGNED.fullmatch(headers.get("Location", ""))
        if signed:
            method, seconds, key = signed.groups()
            headers["Location"] = f"{self.url}{STORE}/{method}/{key}?X-Amz-Expires={seconds}"
        for kind in ("PUT", "PART"):
            here = f'"{self.url}{STORE}/{kind}/'
            reply.body = reply.body.replace(f'"memory:{kind}:'.encode(), here.encode())


def _on_the_wire(sent: SentRequest, reply: Reply) -> bytes:
    headers = CIMultiDict(reply.headers)
    for name in (*_HOP_BY_HOP, "content-length"):
        headers.popall(name, None)
    bodiless = sent.method == "HEAD" or reply.status == 204
    length = reply.length if bodiless or reply.length else str(len(reply.body))
    if length is not None:
        headers["Content-Length"] = length
    lines = [f"HTTP/1.1 {reply.status} Answer", *(f"{k}: {v}" for k, v in headers.items())]
    head = "\r\n".join((*lines, "Connection: close", "", "")).encode()
    return head if bodiless else head + reply.body
