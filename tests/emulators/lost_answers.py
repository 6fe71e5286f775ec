"""Standing between a client and AWS's answers: repeats, what others do meanwhile, other answers.

What a block sets up is undone when it ends, used or not.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


def aws_answer(
    url: str, status: int, content: bytes = b"", headers: Mapping[str, str] | None = None
) -> AWSResponse:
    """Return what botocore takes for an answer that came over the wire."""
    return AWSResponse(url, status, dict(headers or {}), _Raw(content))  # type: ignore[arg-type]


class _Raw(io.BytesIO):
    """A body as urllib3 has it."""

    def stream(self, **_: object) -> Any:  # noqa: ANN401 - an iterator of bytes
        yield self.read()


@contextmanager
def answer_lost(client: DynamoDBClient | S3Client, operation: str, nth: int = 1) -> Iterator[None]:
    """Have botocore send the nth request of an operation again, as it does for a lost answer.

    The first sending has taken effect, and its answer is thrown away. Fails if none was lost.
    """
    service = client.meta.service_model.service_name
    event, answers, lost = f"needs-retry.{service}.{operation}", 0, 0

    def lose(**_: object) -> Any:  # noqa: ANN401 - a delay, though the stubs know of no answer
        nonlocal answers, lost
        answers += 1
        if answers != nth:
            return None
        lost += 1
        return 0.0  # send it again after so many seconds

    client.meta.events.register_first(event, lose)
    try:
        yield
    finally:
        client.meta.events.unregister(event, lose)
    assert lost == 1, f"there was no request {nth} of {operation}"


def first_answers_lost(client: DynamoDBClient) -> None:
    """Have botocore send every request of this client twice, from now on."""

    def lose(attempts: int, **_: object) -> Any:  # noqa: ANN401 - likewise
        return 0.0 if attempts == 1 else None

    client.meta.events.register_first("needs-retry.dynamodb", lose)


@contextmanager
def meanwhile(
    client: DynamoDBClient, operation: str, act: Callable[[], object], nth: int = 1
) -> Iterator[None]:
    """Have somebody act right after the nth answer to an operation. Fails if there was none."""
    event, answers = f"after-call.dynamodb.{operation}", 0

    def answered(**_: object) -> None:
        nonlocal answers
        answers += 1
        if answers == nth:
            act()

    client.meta.events.register_last(event, answered)
    try:
        yield
    finally:
        client.meta.events.unregister(event, answered)
    assert answers >= nth, f"there was no answer {nth} to {operation}"
