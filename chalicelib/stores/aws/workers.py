"""Workers: they drive commits that take longer than a request, and hash the segments of blobs.

This module must never report how a commit ended, because the session says that. If no verdict
comes, the segments count as not yet verified.
"""

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from botocore.config import Config

from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import UnavailableError
from chalicelib.registry.outcomes import BYTES_LOST, ObjectChangedError
from chalicelib.registry.proof import Segment, Stretch, Verdict
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.failures import failures

VERIFY_PATIENCE = 190
"""Seconds for which a driver waits for a verdict: its function's time is shorter."""


def commit_config() -> Config:
    """Return how the client that hands commits over is to behave, each value on purpose.

    A call only queues: what takes longer has failed. The client's next PUT makes another.
    """
    return Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=1, read_timeout=3
    )


def verify_config(workers: int) -> Config:
    """Return the same of the client that waits for verdicts, of so many workers at once.

    A call is not repeated here: the driver knows how much time it has left.
    """
    return Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=3,
        read_timeout=VERIFY_PATIENCE,
        max_pool_connections=workers,
        tcp_keepalive=True,
    )


class ThreadWorkers:
    """Works in this process: for the local registry, which stays alive."""

    def __init__(
        self, commit: Callable[[str], object], verify: Callable[[Stretch], Verdict]
    ) -> None:
        self._commit = commit
        self._verify = verify

    def commit(self, session_id: str) -> None:
        """Start driving the session on a thread of its own."""
        threading.Thread(target=self._commit, args=(session_id,), daemon=True).start()

    def verify(self, stretch: Stretch) -> Verdict:
        """Verify on the thread that asks."""
        return self._verify(stretch)


class FunctionWorkers:
    """Hands commits to the function `commit_function`, and segments to `verify_function`.

    Each function of Moorage knows the one that it may call; what it has none for, it does
    `otherwise`.
    """

    def __init__(
        self,
        otherwise: ThreadWorkers,
        *,
        commit_function: str | None,
        verify_function: str | None,
        at_once: int,
    ) -> None:
        self._otherwise = otherwise
        self._commit_function = commit_function
        self._verify_function = verify_function
        self._committing = client("lambda", commit_config())
        self._verifying = client("lambda", verify_config(at_once))

    def commit(self, session_id: str) -> None:
        """Invoke the function asynchronously with the session's id."""
        if self._commit_function is None:
            self._otherwise.commit(session_id)
            return
        with failures():
            self._committing.invoke(
                FunctionName=self._commit_function,
                InvocationType="Event",
                Payload=json.dumps({"session": session_id}).encode(),
            )

    def verify(self, stretch: Stretch) -> Verdict:
        """Invoke the function, and wait for its answer."""
        if self._verify_function is None:
            return self._otherwise.verify(stretch)
        with failures():
            answer = self._verifying.invoke(
                FunctionName=self._verify_function,
                InvocationType="RequestResponse",
                Payload=json.dumps(stretch_event(stretch)).encode(),
            )
            read = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise UnavailableError("the verify function failed: see its log")
        return _verdict_of(json.loads(read))


def answer_event(event: Mapping[str, Any], verify: Callable[[Stretch], Verdict]) -> dict[str, Any]:
    """Return what the verify function answers: the other end of `FunctionWorkers.verify`."""
    try:
        verdict = verify(_stretch_of(event))
    except BYTES_LOST as lost:
        return {"lost": str(lost)}
    return {"held": sorted(verdict.held), "wrong": sorted(verdict.wrong)}


def _verdict_of(answer: Mapping[str, Any]) -> Verdict:
    if "lost" in answer:
        raise ObjectChangedError(answer["lost"])
    return Verdict(frozenset(answer["held"]), frozenset(answer["wrong"]))


def stretch_event(stretch: Stretch) -> dict[str, Any]:
    """Return what the verify function is invoked with."""
    return {
        "key": stretch.key,
        "etag": stretch.etag,
        "size": stretch.size,
        "digest": str(stretch.digest),
        "segments": [
            {
                "algorithm": segment.algorithm,
                "index": segment.index,
                "start": segment.start,
                "end": segment.end,
                "before": segment.before.hex(),
                "after": None if segment.after is None else segment.after.hex(),
            }
            for segment in stretch.segments
        ],
    }


def _stretch_of(event: Mapping[str, Any]) -> Stretch:
    return Stretch(
        key=event["key"],
        etag=event["etag"],
        size=event["size"],
        digest=Digest.parse(event["digest"]),
        segments=tuple(
            Segment(
                Algorithm(segment["algorithm"]),
                segment["index"],
                segment["start"],
                segment["end"],
                bytes.fromhex(segment["before"]),
                None if segment["after"] is None else bytes.fromhex(segment["after"]),
            )
            for segment in event["segments"]
        ),
    )
