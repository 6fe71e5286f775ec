"""Builds stores, registry and API from the settings: the only place that does.

This module must never decide anything that a setting does not say.
"""

import logging
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from chalicelib.api.authorization import GrantedAccess
from chalicelib.api.dispatch import Api
from chalicelib.clock import SystemClock
from chalicelib.errors import RegistryError
from chalicelib.settings import AccessSettings, ApiOptions, Settings
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.workers import FunctionWorkers, ThreadWorkers, answer_event
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from chalicelib.stores.dynamodb.client import dynamodb_client
from chalicelib.telemetry import log

if TYPE_CHECKING:
    from chalicelib.access.cursors import Cursors
    from chalicelib.access.token_service import TokenService
    from chalicelib.registry.proof import Stretch, Verdict
    from chalicelib.registry.registry import Registry
    from chalicelib.registry.session import Session
    from chalicelib.registry.sweeper import SweepReport

# ruff: noqa: PLC0415 - what a new process's first request does not need is imported later

_log = logging.getLogger("moorage.wiring")

COMMIT_SECONDS = 600.0
"""How long a worker may drive one commit: the commit function's own time is longer."""

SWEEP_SECONDS = 600.0
"""How long one run of the sweeper may go on taking up work: its function's time is longer."""

COLLECT_SECONDS = 780.0
"""The same of retention and the collector, whose last steps are short: two minutes are left."""


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

    Nobody waits for it: the client learns the outcome by repeating its PUT.
    """
    try:
        with log.invocation(_log, "commit", session=session_id) as fields:
            session = registry().commits.resume(session_id, time.time() + COMMIT_SECONDS)
            fields.update({"status": 404} if session is None else _outcome(session))
    except RegistryError as error:
        _log.warning("commit of %s stopped: %s", session_id, error.message)


def _outcome(session: "Session") -> dict[str, object]:
    """Return the fields of a commit's log line."""
    from chalicelib.registry.session import UploadState

    # 202: another driver has it, or its time is over and the next one goes on. 400: the bytes have
    # another digest than was claimed. 403: there is no room for them. 404: they were lost.
    statuses = {UploadState.COMMITTED: 200, UploadState.CANCELLED: 403 if session.denied else 404}
    return {
        "status": 400 if session.mismatched else statuses.get(session.state, 202),
        "repository": session.repository,
        "digest": str(session.claim) if session.claim else None,
        "principal": session.principal,
    }


def verify_segments(event: Mapping[str, Any]) -> dict[str, Any]:
    """Hash segments of a direct upload: what the verify function does, and answers its driver."""
    with log.invocation(_log, "verify", digest=event["digest"]):
        return answer_event(event, _verdict)


def _verdict(stretch: "Stretch") -> "Verdict":
    return registry().verifier.verdict(stretch)


def sweep(seconds: float = SWEEP_SECONDS) -> "SweepReport":
    """Sweep what is due: what the sweep function does, hourly. The next run does what is left."""
    with log.invocation(_log, "sweep") as fields:
        swept = registry().sweeper.sweep(time.time() + seconds)
        fields["swept"] = {outcome.value: number for outcome, number in swept.outcomes.items()}
        fields["finished"] = swept.finished
    return swept


def collect(seconds: float = COLLECT_SECONDS) -> None:
    """Apply the retention rules, then collect garbage: what the collect function does, hourly.

    Each continues where its last run ended. If retention fails, the collector still runs.
    """
    now = time.time()
    with log.invocation(_log, "collect") as fields:
        try:
            expired = registry().retention.run(now + seconds / 2)
            names = ("repositories", "images", "manifests", "used_meanwhile", "unknown", "errors")
            numbers = {name: getattr(expired, name) for name in names}
            fields["expired"] = {**numbers, "stopped": len(expired.stopped)}
        finally:
            if settings().collect:
                fields.update(_collected(now, now + seconds))


def _collected(now: float, until: float) -> dict[str, object]:
    """Run the collector; return the fields of its log line."""
    report = registry().collector.run(until)
    names = ("repositories", "links", "records", "objects", "healed", "errors")
    numbers = {name: getattr(report, name) for name in names}
    return {
        "collected": {**numbers, "left": len(report.left), "skipped": len(report.skipped)},
        "bytes_freed": report.freed,
        "lost": len(report.lost),
        "finished": report.finished,
        "pass_age": None if report.began_at is None else round(now - report.began_at),
    }


@lru_cache(maxsize=1)
def registry() -> "Registry":
    """Build the registry over S3 and DynamoDB."""
    from chalicelib.stores.s3.copies import COPY_THREADS
    from chalicelib.stores.s3.objects import WORKER_PATIENCE, s3_config
    from chalicelib.wiring.assembly import Clients, assembled, limits_of
    from chalicelib.wiring.keys import ticket_keys

    config = settings()
    limits = limits_of(config)
    workers = FunctionWorkers(
        ThreadWorkers(commit_session, _verdict),
        commit_function=config.commit_function,
        verify_function=config.verify_function,
        at_once=limits.verify_workers,
    )
    # Only a function that can hand a commit over has a client that waits for its answer, and it
    # never copies in parts.
    s3_options = (
        s3_config(emulated=config.emulated)
        if config.commit_function
        else s3_config(emulated=config.emulated, patience=WORKER_PATIENCE, connections=COPY_THREADS)
    )
    clients = Clients(client("s3", s3_options), dynamodb_client())
    return assembled(config, limits, clients, SystemClock(), workers, ticket_keys(config))


@lru_cache(maxsize=1)
def api() -> Api:
    """Build the API."""
    config = settings()
    options = ApiOptions(
        inline_limit=config.inline_limit,
        head_strategy=config.head_strategy,
        manifest_limit=config.manifest_limit,
        direct_from=config.direct_from,
        cors_origins=config.cors_origins,
    )
    access = access_settings()
    if access is None:
        return Api(registry, options)
    options = options._replace(realm=access.realm, service=access.service)
    store = DynamoAccessStore(dynamodb_client(), access.table)
    granted = GrantedAccess(store, SystemClock().now, registry, cursors)
    return Api(registry, options, granted, token_service)


def token_service() -> "TokenService":
    """Build the token service, at the first request to the token endpoint: it loads PyJWT."""
    from chalicelib.wiring import access

    return access.token_service()


def cursors() -> "Cursors":
    """Build the cursors, at the first page of the catalog that needs one: likewise."""
    from chalicelib.wiring import access

    return access.cursors()
