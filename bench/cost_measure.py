"""One push and one pull, made as docker makes them through the push proxy, and what they ask for.

The API runs in this process, over an emulated S3 and DynamoDB; the gateway and its authorizer are
played, as they do nothing but count. Each measurement takes a new bucket and new tables.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bench import cost_image
from bench.cost_image import CHUNK, REPOSITORY
from bench.cost_meter import CallMeter, size_of
from chalicelib.access.authentication import Authenticator
from chalicelib.access.authorizer_context import PRINCIPAL, to_context
from chalicelib.access.credentials import Credential, generate, hash_of
from chalicelib.access.cursors import Cursors
from chalicelib.access.federation.exchange import TokenExchange
from chalicelib.access.grants import Grants
from chalicelib.access.token_service import TokenService
from chalicelib.access.tokens import TokenIssuer
from chalicelib.api.authorization import GrantedAccess
from chalicelib.api.dispatch import Api
from chalicelib.api.headers import session_named
from chalicelib.api.messages import Request, Response
from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest
from chalicelib.limits import LAMBDA_BODY
from chalicelib.registry.keys import direct_key
from chalicelib.registry.registry import Registry
from chalicelib.registry.service import Limits, Ports
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.aws.ssm_keys import DerivedTicketKeys
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.proxy.ranged_pulls import PullPlan
from tests.support.access import SERVICE, URL, FixedSigningKeys, Unreachable
from tests.support.registries import RecordedWorkers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.emulators.backends import Backend

_DAY = 86_400.0
_ITEM_OVERHEAD = 100
"""Bytes that DynamoDB bills for each item stored, on top of its own."""
_NOBODYS = str(uuid.UUID(int=0))
_CREATED = 201
_REDIRECTED = 307
_SCOPES = {"push": f"repository:{REPOSITORY}:pull,push", "pull": f"repository:{REPOSITORY}:pull"}


@dataclass(frozen=True)
class Counts:
    """What one operation asks of AWS; bytes are whole, units and requests as they are billed."""

    gateway: int
    api: int
    authorizer: int
    bytes_in: int
    """Of the bodies that the API took."""
    bytes_out: int
    """To the client, by the API and by S3."""
    assembled: int
    """Objects that were put together from parts."""
    s3_writes: int
    s3_reads: int
    dynamodb_writes: int
    dynamodb_reads: float
    kept_bytes: int
    """What the table of what is kept holds more afterwards, as DynamoDB bills storage."""
    edge: int = 0
    """Requests at the edge, where there is one."""
    edge_bytes_in: int = 0
    """Of the bodies that the edge sent to S3."""


def measure(backend: Backend) -> dict[str, Counts]:
    """Count a push, a pull of what was pushed, and runs of the hourly functions with nothing due.

    And, in a registry of its own, a push and a pull through the edge.
    """
    world, edged = _prepared(backend), _prepared(backend.fresh())
    counts = {
        "push": _counted(world, lambda client: client.push()),
        "pull": _counted(world, lambda client: client.pull()),
        "sweep": _counted(world, lambda _: world.sweep()),
    }
    world.collect()  # the pass of the day; the runs of the other 23 hours have nothing to do
    return {
        **counts,
        "collect": _counted(world, lambda _: world.collect()),
        "edge push": _counted(edged, lambda client: client.through_edge().push()),
        "edge pull": _counted(edged, lambda client: client.through_edge().pull()),
    }


def _prepared(backend: Backend) -> _CostWorld:
    """Return a registry that has the layers that a push finds, and was used the day before."""
    world = _CostWorld(backend)
    for layer in cost_image.known_layers():
        world.store(layer)
    world.log_in("push")  # notes the day of use, once a day
    world.clock.at += _DAY  # by then a link is old enough to be touched at its next use
    world.log_in("push")
    return world


class _Clock:
    """A clock that stands: the length of a time in an item must not depend on when it is."""

    at = 1_795_000_000.25

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds

    def new_id(self) -> str:
        return str(uuid.uuid4())


class _CostWorld:
    """A registry with access control, and one credential that may push and pull."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.clock = _Clock()
        self.s3, self.dynamodb = backend.s3(), backend.dynamodb()
        self.access = DynamoAccessStore(self.dynamodb, backend.access_table)
        keys = FixedSigningKeys()
        self.token_issuer = TokenIssuer(keys, URL, SERVICE)
        tables = (backend.registry_table, backend.uploads_table)
        ports = Ports(
            objects=S3ObjectStore(self.s3, backend.bucket),
            sessions=DynamoSessionStore(self.dynamodb, backend.uploads_table),
            metadata=DynamoMetadataStore(self.dynamodb, *tables),
            workers=RecordedWorkers(),
            clock=self.clock,
            ticket_keys=DerivedTicketKeys(lambda: keys),
        )
        self.registry = Registry(ports, Limits())
        # Where a deployment starts.
        options = ApiOptions(64 * 1024, HeadStrategy.REDIRECT, 4_500_000)
        exchange = TokenExchange(self.access, Unreachable(), Unreachable(), SERVICE)
        tokens = TokenService(
            self.access, self.token_issuer, exchange, self.clock.now, lambda _: None
        )
        admission = GrantedAccess(
            self.access, self.clock.now, lambda: self.registry, lambda: Cursors(FixedSigningKeys())
        )
        self.api = Api(lambda: self.registry, options, admission, lambda: tokens)

    @cached_property
    def password(self) -> str:
        token = generate()
        grants = Grants.parse(["team/**:pull,push"])
        record = Credential(
            str(uuid.uuid4()), "ci", "bench", self.clock.now(), grants, hash_of(token)
        )
        self.access.create(record)
        return token

    def store(self, data: bytes) -> None:
        self.registry.uploads.put_whole(REPOSITORY, "bench", Digest.of(data), data)

    def log_in(self, action: str) -> None:
        _Client(self).log_in(action)

    def collect(self) -> None:
        """Run retention without rules, and the collector between two passes."""
        self.registry.retention.run(self.clock.now() + 1)
        self.registry.collector.run(self.clock.now() + 1)

    def sweep(self) -> None:
        self.registry.sweeper.sweep(self.clock.now() + 1)

    def kept(self) -> int:
        """Bytes of all items that stay; the table of uploads empties itself."""
        rows = self.backend.dynamodb().scan(TableName=self.backend.registry_table)
        assert "LastEvaluatedKey" not in rows  # noqa: S101 - a few items
        return sum(size_of(item) + _ITEM_OVERHEAD for item in rows["Items"])


class _Client:
    """docker, the push proxy before it, and the gateway behind it."""

    def __init__(self, world: _CostWorld) -> None:
        self.gateway = self.api = self.authorizer = self.s3_reads = 0
        self.bytes_in = self.bytes_out = 0
        self.edge = self.edge_bytes_in = 0
        self._through_edge = False
        self._world = world
        self._token = ""
        self._may_push = False
        self._context: Mapping[str, str] = {}

    def through_edge(self) -> _Client:
        """Be docker 29, with the edge before the gateway, and no proxy."""
        self._through_edge = True
        return self

    def log_in(self, action: str) -> None:
        """Hear the challenge, which no function answers, and fetch a token."""
        self.gateway += 1
        self.edge += self._through_edge
        password = base64.b64encode(f"ci:{self._world.password}".encode()).decode()
        query = {"service": [SERVICE], "scope": [_SCOPES[action]]}
        answer = self._send("GET", "_token", query, {"authorization": f"Basic {password}"})
        self._token = json.loads(answer.body)["token"]

    def push(self) -> None:
        """Look for each layer, send those that are missing, the config, and the manifest."""
        self.log_in("push")
        for layer in cost_image.known_layers():
            assert self._found(layer)  # noqa: S101 - else it were another workload
        for blob in (*cost_image.new_layers(), cost_image.config()):
            assert not self._found(blob)  # noqa: S101 - likewise
            self._upload(blob)
            assert self._found(blob)  # noqa: S101 - likewise
        kind = {"content-type": MediaType.OCI_MANIFEST.value}
        self._ask("PUT", f"{REPOSITORY}/manifests/latest", cost_image.manifest(), kind)

    def pull(self) -> None:
        """Fetch the manifest, the config and every layer."""
        self.log_in("pull")
        for method in ("HEAD", "GET"):
            self._ask(method, f"{REPOSITORY}/manifests/latest")
        for blob in (cost_image.config(), *cost_image.layers()):
            answer = self._ask("GET", f"{REPOSITORY}/blobs/{Digest.of(blob)}")
            if answer.status == _REDIRECTED:
                self.bytes_out += len(blob)
                if not self._through_edge:
                    self.s3_reads += PullPlan().requests(len(blob)) - 1

    def _found(self, blob: bytes) -> bool:
        return self._ask("HEAD", f"{REPOSITORY}/blobs/{Digest.of(blob)}").status < 400  # noqa: PLR2004 - HTTP's own

    def _put_whole(self, blob: bytes) -> None:
        """POST and one PUT, which the edge sends to S3 if Lambda can't take it."""
        digest = Digest.of(blob)
        opened = self._ask("POST", f"{REPOSITORY}/blobs/uploads/")
        at = str(opened.headers["Location"]).partition("?")[0]
        if len(blob) <= LAMBDA_BODY:
            self._ask("PUT", f"{at}?digest={digest}", blob)
            return
        self.edge += 1
        self.edge_bytes_in += len(blob)
        session = session_named(at.rpartition("/")[2])
        checksum = base64.b64encode(bytes.fromhex(digest.hex)).decode()
        self._world.s3.put_object(
            Bucket=self._world.backend.bucket,
            Key=direct_key(digest, session),
            Body=blob,
            ContentType="application/octet-stream",
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
        )
        committed = self._ask("GET", f"{at}?commit&digest={digest}")
        assert committed.status == _CREATED, committed  # noqa: S101 - else it were another workload

    def _upload(self, blob: bytes) -> None:
        if self._through_edge:
            self._put_whole(blob)
            return
        if not self._may_push:
            # The proxy asks once for the status of a session that nobody has opened.
            self._may_push = True
            self._ask("GET", f"{REPOSITORY}/blobs/uploads/{_NOBODYS}")
        if len(blob) <= CHUNK:
            self._ask("POST", f"{REPOSITORY}/blobs/uploads/?digest={Digest.of(blob)}", blob)
            return
        at = self._ask("POST", f"{REPOSITORY}/blobs/uploads/").headers["Location"]
        for first in range(0, len(blob), CHUNK):
            chunk = blob[first : first + CHUNK]
            span = {"content-range": f"{first}-{first + len(chunk) - 1}"}
            at = self._ask("PATCH", str(at), chunk, span).headers["Location"]
        self._ask("PUT", f"{at}&digest={Digest.of(blob)}")

    def _ask(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request with the token, and follow where it leads."""
        if not self._context:
            self._authorize()
        parts = urlsplit(target.removeprefix("/v2/"))
        pairs = (pair.partition("=") for pair in parts.query.split("&") if pair)
        query = {name: [value] for name, _, value in pairs}
        answer = self._send(method, parts.path, query, headers or {}, body)
        # A URL of S3's: the client asks there, unless the proxy knows the answer.
        asked = answer.status == _REDIRECTED and (self._through_edge or method != "HEAD")
        self.s3_reads += asked
        self.edge += self._through_edge and asked
        return answer

    def _authorize(self) -> None:
        """Ask the authorizer, whose answer the gateway keeps for a minute."""
        self.authorizer += 1
        world = self._world
        authenticator = Authenticator(world.access, world.token_issuer, world.clock.now)
        principal = authenticator.identify(f"Bearer {self._token}")
        assert principal is not None  # noqa: S101 - the token is a minute old
        self._context = {PRINCIPAL: principal.id, **to_context(principal)}

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Sequence[str]],
        headers: Mapping[str, str],
        body: bytes = b"",
    ) -> Response:
        self.gateway += 1
        self.edge += self._through_edge
        self.api += 1
        self.bytes_in += len(body)
        deadline = self._world.clock.now() + 29
        answer = self._world.api(
            Request(
                method,
                path.rstrip("/"),
                query,
                headers,
                body,
                deadline,
                "bench",
                source="198.51.100.7",
                authorizer=self._context,
            )
        )
        expected = method == "HEAD" or path.endswith(_NOBODYS)
        if answer.status >= 400 and not expected:  # noqa: PLR2004 - HTTP's own
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {answer.body!r}")
        self.bytes_out += 0 if method == "HEAD" else len(answer.body)
        return answer


def _counted(world: _CostWorld, work: Callable[[_Client], None]) -> Counts:
    backend, client = world.backend, _Client(world)
    meter = CallMeter(backend.dynamodb())
    before = world.kept()
    tables = (backend.registry_table, backend.uploads_table, backend.access_table)
    with meter.watch(world.s3, world.dynamodb, *tables):
        work(client)
    return Counts(
        gateway=client.gateway,
        api=client.api,
        authorizer=client.authorizer,
        bytes_in=client.bytes_in,
        bytes_out=client.bytes_out,
        assembled=meter.assembled,
        s3_writes=meter.s3_writes,
        s3_reads=meter.s3_reads + client.s3_reads,
        dynamodb_writes=meter.dynamodb_writes,
        dynamodb_reads=meter.dynamodb_reads,
        kept_bytes=world.kept() - before,
        edge=client.edge,
        edge_bytes_in=client.edge_bytes_in,
    )
