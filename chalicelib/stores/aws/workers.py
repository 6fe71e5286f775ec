"""Workers: who drives a commit that outlasts its request.

This module must never say how a commit ended: the session does.
"""

import json
import threading
from collections.abc import Callable

from botocore.config import Config

from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.failures import AWS_ERRORS, translate


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
