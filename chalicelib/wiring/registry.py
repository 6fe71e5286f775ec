"""Builds stores, registry and API from the settings: the only place that does.

This module must never decide anything that a setting does not say.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from botocore.config import Config

from chalicelib.api.authorization import Granted
from chalicelib.api.dispatch import Api
from chalicelib.api.options import ApiOptions, HeadStrategy
from chalicelib.clock import SystemClock
from chalicelib.errors import RegistryError
from chalicelib.settings import AccessSettings, Settings
from chalicelib.stores.aws.clients import client, dynamodb_client
from chalicelib.stores.aws.failures import AWS_ERRORS, translate
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.telemetry import line as log

if TYPE_CHECKING:
    from chalicelib.access.token_service import Desk
    from chalicelib.registry.registry import Registry
    from chalicelib.registry.session import Session
    from chalicelib.registry.sweeper import Swept

# ruff: noqa: PLC0415 - what a new process's first request does not need is imported later

_log = logging.getLogger("moorage.wiring")

COMMIT_SECONDS = 600.0
"""How long a worker may drive one commit: the commit function's own time is longer."""

SWEEP_SECONDS = 600.0
"""How long one run of the sweeper may go on taking up work: its function's time is longer."""


def function_workers_config() -> Config:
    """Return how the client that hands commits over is to behave, each value on purpose.

    A call only queues: what takes longer has failed. The client's next PUT makes another.
    """
    return Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=3
    )


class FunctionWorkers:
    """Hands commits to the commit function."""

    def __init__(self, function_name: str) -> None:
        self._function_name = function_name
        self._lambda = client("lambda", function_workers_config())

    def commit(self, session_id: str) -> None:
        """Invoke the function asynchronously with the session's id; raises UnavailableError."""
        try:
            self._lambda.invoke(
                FunctionName=self._function_name,
                InvocationType="Event",
                Payload=json.dumps({"session": session_id}).encode(),
            )
        except AWS_ERRORS as error:
            raise translate(error) from error


class ThreadWorkers:
    """Finishes commits on a thread of this process: for the local registry, which stays alive."""

    def __init__(self, commit: Callable[[str], object]) -> None:
        self._commit = commit

    def commit(self, session_id: str) -> None:
        """Start driving the session."""
        threading.Thread(target=self._commit, args=(session_id,), daemon=True).start()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the environment, once."""
    return Settings.read(os.environ)


@lru_cache(maxsize=1)
def access_settings() -> AccessSettings | None:
    """Read the environment of access control, once; None for an open registry."""
    return AccessSettings.read(os.environ)


def commit_session(session_id: str) -> None:
    """Drive a sealed session to its end: what the commit function does.

    Nobody waits for its answer: what a client has to be told, the repeated PUT tells it.
    """
    try:
        with log.invocation(_log, "commit", session=session_id) as told:
            session = registry().commits.resume(session_id, time.time() + COMMIT_SECONDS)
            told.update({"status": 404} if session is None else _outcome(session))
    except RegistryError as error:
        _log.warning("commit of %s stopped: %s", session_id, error.message)


def _outcome(session: "Session") -> dict[str, object]:
    """Return what the log tells of a session that was driven."""
    from chalicelib.registry.session import State

    return {
        # 202: its time is over, and the sweeper drives it on. 404: its bytes were lost.
        "status": {State.COMMITTED: 200, State.CANCELLED: 404}.get(session.state, 202),
        "repository": session.repository,
        "digest": str(session.claim) if session.claim else None,
        "principal": session.principal,
    }


def sweep(seconds: float = SWEEP_SECONDS) -> "Swept":
    """Sweep what is due: what the sweep function does, hourly. The next run does what is left."""
    with log.invocation(_log, "sweep") as told:
        swept = registry().sweeper.sweep(time.time() + seconds)
        told["swept"] = {outcome.value: number for outcome, number in swept.outcomes.items()}
        told["finished"] = swept.finished
    return swept


@lru_cache(maxsize=1)
def registry() -> "Registry":
    """Build the registry over S3 and DynamoDB."""
    from chalicelib.registry.registry import Registry
    from chalicelib.registry.service import Limits, Ports
    from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
    from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
    from chalicelib.stores.s3.objects import S3ObjectStore, s3_config

    config = settings()
    clock = SystemClock()
    dynamodb = dynamodb_client(serial=config.serial_dynamodb)
    workers = (
        FunctionWorkers(config.commit_function)
        if config.commit_function
        else ThreadWorkers(commit_session)
    )
    ports = Ports(
        objects=S3ObjectStore(client("s3", s3_config(emulated=config.emulated)), config.bucket),
        sessions=DynamoSessionStore(dynamodb, config.uploads_table),
        metadata=DynamoMetadataStore(dynamodb, config.registry_table, config.uploads_table),
        workers=workers,
        clock=clock,
    )
    limits = Limits(
        sparse_index=config.sparse_index,
        sparse_image=config.sparse_image,
        anonymous_mount=config.anonymous_mount,
    )
    return Registry(ports, limits)


@lru_cache(maxsize=1)
def api() -> Api:
    """Build the API."""
    config = settings()
    options = ApiOptions(
        inline_limit=config.inline_limit,
        head_strategy=HeadStrategy(config.head_strategy),
        manifest_limit=config.manifest_limit,
    )
    access = access_settings()
    if access is None:
        return Api(registry, options)
    options = options._replace(realm=access.realm, service=access.service)
    store = DynamoAccessStore(dynamodb_client(serial=config.serial_dynamodb), access.table)
    return Api(registry, options, Granted(store, SystemClock().now), desk)


def desk() -> "Desk":
    """Build the token desk, when somebody comes there: it verifies tokens, and that is a load."""
    from chalicelib.wiring import access as gatehouse

    return gatehouse.desk()
