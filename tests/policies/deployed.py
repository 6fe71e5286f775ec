"""The functions of a deployment in this process, built by chalicelib/wiring itself, and a replay.

The replay is of what they ask of AWS: which function asked it, and in which flow. One function runs
at a time, so that their threads need not be told apart. No call that a test makes to arrange things
may count.

Only numbers are smaller than in a deployment, so that a copy in parts takes 12 MiB and not 6 GiB,
in the same order as theirs; and the clock can be moved. It must never call AWS for a function.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import quote

from chalicelib.access.authorizer_context import PRINCIPAL, to_context
from chalicelib.access.credentials import generate, hash_of
from chalicelib.access.grants import Grants
from chalicelib.registry import service
from chalicelib.registry.service import Limits
from chalicelib.routes import match
from chalicelib.stores.aws import clients
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.client import dynamodb_client
from chalicelib.stores.s3 import objects as s3
from chalicelib.stores.s3.copies import CopyPlan
from chalicelib.stores.s3.objects import S3ObjectStore
from chalicelib.wiring import access as wiring_access
from chalicelib.wiring import keys as wiring_keys
from chalicelib.wiring import registry as wiring
from moorage.access import signing_key
from tests.chalicelib.access.values import a_credential
from tests.emulators.lost_answers import aws_answer
from tests.policies.aws_calls import AwsCall, Origin, each_call
from tests.policies.function_policies import (
    COMMIT_FUNCTION,
    VERIFY_FUNCTION,
    DeployedNames,
    Function,
)
from tests.support.registries import RegistryUnderTest, registry_over, request_to

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

    from chalicelib.access.decision import Principal
    from chalicelib.access.ports import AccessStore
    from chalicelib.api.messages import Response
    from chalicelib.routes import Route
    from tests.emulators.backends import Backend
    from tests.policies.iam_actions import Need

MIB = 1024 * 1024
COMMIT_INLINE, COPY_WHOLE, COPY_PART = 8 * MIB, 10 * MIB, 5 * MIB
URL, SERVICE = "https://registry.example.com", "registry.example.com"
FORM = "application/x-www-form-urlencoded"
_SOURCE = "198.51.100.7"
_CACHES = (
    clients.session,
    dynamodb_client,
    wiring.settings,
    wiring.access_settings,
    wiring.registry,
    wiring.api,
    wiring_access.authenticator,
    wiring_access.cursors,
    wiring_access.token_service,
    wiring_access._store,  # noqa: SLF001 - what one process builds once, a test builds anew
    wiring_keys.access_settings,
    wiring_keys.signing_keys,
)


@dataclass(frozen=True, order=True)
class StatementUse:
    """A permission that a function needed in a flow."""

    function: Function
    need: Need
    flow: str


@dataclass
class Replay:
    """All that was needed, over things of these names."""

    names: DeployedNames
    uses: set[StatementUse] = field(default_factory=set)
    routes: list[Route] = field(default_factory=list)
    """The rows of the table of routes that were asked."""
    operations: set[tuple[str, str]] = field(default_factory=set)
    """What was called, by service."""
    faults: list[str] = field(default_factory=list)
    _flow: str = ""
    _function: Function | None = None

    @contextmanager
    def flow(self, name: str) -> Iterator[None]:
        """Note every call until the block ends as one of this flow."""
        self._flow = name
        with each_call(self._note):
            yield

    @contextmanager
    def running(self, function: Function) -> Iterator[None]:
        """Take every call until the block ends for one of this function.

        No other one runs meanwhile but one that waits for it.
        """
        calling, self._function = self._function, function
        assert calling is None or function is Function.VERIFY, "one function runs at a time"
        try:
            yield
        finally:
            self._function = calling

    def of(self, function: Function) -> set[Need]:
        """Return what a function needed."""
        return {use.need for use in self.uses if use.function is function}

    def _note(self, call: AwsCall) -> None:
        if self._function is None:
            return
        if call.caller is not Origin.FUNCTION:
            told = f"{self._flow}: {call.caller.value} calls {call.service}:{call.operation}"
            self.faults.append(f"{told} while the function {self._function} runs")
        self.operations.add((call.service, call.operation))
        # An operation that is not mapped is raised where it is called, and told by the watch.
        self.uses |= {StatementUse(self._function, need, self._flow) for need in call.needs()}


class ReplayedDeployment:
    """Five functions over one backend, and what arranges the world for them."""

    def __init__(self, backend: Backend, replay: Replay) -> None:
        self.backend = backend
        self.replay = replay
        self.arranged: RegistryUnderTest = registry_over(backend)
        """A registry that stores and changes what a flow begins with, under the same clock."""
        self.access: AccessStore = DynamoAccessStore(backend.dynamodb(), backend.access_table)
        self.admin = self.credential("admin")

    def credential(self, *grants: str) -> str:
        """Make a credential with grants; returns a Basic header."""
        token = generate()
        now = self.arranged.clock.now()
        record = a_credential(
            owner="a test", created_at=now, grants=Grants.parse(grants), secret_hash=hash_of(token)
        )
        self.access.create(record)
        return basic(token)

    def identify(self, header: str) -> Principal | None:
        """Call the authorizer."""
        with self.replay.running(Function.AUTHORIZER):
            return wiring_access.identify(header)

    def ask(
        self, method: str, target: str, body: bytes = b"", *, by: str | None = None, **headers: str
    ) -> Response:
        """Send a request by way of the authorizer; `by`: its Authorization, None: the admin's."""
        principal = self.identify(self.admin if by is None else by)
        told = {} if principal is None else {PRINCIPAL: principal.id, **to_context(principal)}
        return self._answered(method, target, body, headers, told)

    def token(
        self, method: str, body: Mapping[str, str], query: str = "", header: str | None = None
    ) -> Response:
        """Ask the token endpoint, which no authorizer stands before."""
        headers = {"content_type": FORM} | ({} if header is None else {"authorization": header})
        form = "&".join(f"{name}={quote(value, safe='')}" for name, value in body.items())
        return self._answered(method, f"_token?{query}", form.encode(), headers, {})

    def commit(self, session_id: str) -> None:
        """Call the commit function."""
        with self.replay.running(Function.COMMIT):
            wiring.commit_session(session_id)

    def sweep(self) -> None:
        """Call the sweep function."""
        with self.replay.running(Function.SWEEP):
            wiring.sweep()

    def collect(self) -> None:
        """Call the collect function."""
        with self.replay.running(Function.COLLECT):
            wiring.collect()

    @contextmanager
    def earlier(self, seconds: float) -> Iterator[None]:
        """Let the block happen so many seconds ago."""
        clock = self.arranged.clock
        before, clock.offset = clock.offset, clock.offset - seconds
        try:
            yield
        finally:
            clock.offset = before

    def _answered(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        told: Mapping[str, str],
    ) -> Response:
        sent = request_to(method, target, body, headers, self.arranged.clock.now() + 29)
        request = sent._replace(source=_SOURCE, authorizer=told)
        self.replay.routes.append(match(method, request.path).route)
        with self.replay.running(Function.API):
            return wiring.api()(request)


def basic(password: str) -> str:
    """Return a Basic header."""
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@contextmanager
def deployed(backend: Backend) -> Iterator[ReplayedDeployment]:
    """Have chalicelib/wiring build for a backend until the block ends."""
    key = f"/moorage/{uuid.uuid4().hex}"
    assert signing_key.ensure(backend.client("ssm"), key)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
        **backend.environment,
        "MOORAGE_AUTH": "on",
        "MOORAGE_URL": URL,
        "MOORAGE_SIGNING_KEY": key,
        "MOORAGE_COMMIT_FUNCTION": COMMIT_FUNCTION,
        "MOORAGE_VERIFY_FUNCTION": VERIFY_FUNCTION,
        "MOORAGE_INLINE_LIMIT": "1024",
    }
    deployment = ReplayedDeployment(backend, Replay(DeployedNames.of(backend, key)))
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment, clear=True))
        stack.enter_context(_smaller(deployment))
        _forget()
        stack.callback(_forget)
        _lambda_answers(deployment.replay)
        yield deployment


@contextmanager
def _smaller(deployment: ReplayedDeployment) -> Iterator[None]:
    limits = partial(
        Limits,
        commit_inline=COMMIT_INLINE,
        verify_alone=COMMIT_INLINE,
        copy_whole=COPY_WHOLE,
        verify_workers=1,  # the replay knows one caller at a time
    )
    copies = CopyPlan(COPY_WHOLE, COPY_PART, now=deployment.arranged.clock.now)
    objects = partial(S3ObjectStore, copies=copies)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(service, "Limits", limits))
        stack.enter_context(mock.patch.object(s3, "S3ObjectStore", objects))
        # Authorizer and API are two processes: each reads the key for itself.
        for name in ("signing_keys", "_token_issuer"):
            anew = getattr(wiring_access, name).__wrapped__
            stack.enter_context(mock.patch.object(wiring_access, name, anew))
        for module in (wiring, wiring_access):
            clock = mock.patch.object(module, "SystemClock", return_value=deployment.arranged.clock)
            stack.enter_context(clock)
        yield


def _lambda_answers(replay: Replay) -> None:
    """Answer asynchronous invocations as Lambda does: 202, and nothing has run yet.

    The verify function runs while its caller waits.
    """

    def answered(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        if f"/{VERIFY_FUNCTION}/" not in request.url:
            return aws_answer(request.url, 202)
        with replay.running(Function.VERIFY):
            asked: Any = request.body
            verdict = wiring.verify_segments(json.loads(asked))
        return aws_answer(request.url, 200, json.dumps(verdict).encode())

    # The stubs know of no handler that answers; botocore does.
    handler: Any = answered
    clients.session().register("before-send.lambda.Invoke", handler)


def _forget() -> None:
    for cache in _CACHES:
        cache.cache_clear()
