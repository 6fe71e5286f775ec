"""What an error of AWS means to the rules: 503 or 429 with a time to retry, never "absent".

This module must never turn an error into an answer: only a code that the caller itself names for
one operation means anything else.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from chalicelib.errors import RegistryError, TooManyRequestsError, UnavailableError
from chalicelib.limits import THROTTLE_CODES

AWS_ERRORS = (
    BotoCoreError,  # no answer: no connection, a timeout, no credentials
    ClientError,  # an answer that is an error
    ResponseParserError,  # an answer that can't be read; no relation of the two above
    HTTPError,  # a body whose TLS fails while it is streamed: botocore does not wrap this error
)

_THROTTLED_WAIT = 2
_FAILED_WAIT = 1


def code_of(error: BaseException) -> str:
    """Return the AWS error code of a ClientError, else an empty text.

    The answer to a HEAD has no body, and so no code: botocore gives its status, as in "404".
    """
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def status_of(error: BaseException) -> int:
    """Return the HTTP status of a ClientError, else 0."""
    if isinstance(error, ClientError):
        return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return 0


def translate(error: BaseException) -> RegistryError:
    """Return what a client is answered to an AWS error; the cause is for the log."""
    if code_of(error) in THROTTLE_CODES or status_of(error) == HTTPStatus.TOO_MANY_REQUESTS:
        return TooManyRequestsError(
            "the storage below is being throttled", retry_after=_THROTTLED_WAIT
        )
    return UnavailableError(
        "the storage below could not be reached or answered with an error",
        retry_after=_FAILED_WAIT,
    )


@contextmanager
def failures(meanings: Mapping[str, type[Exception]] | None = None) -> Iterator[None]:
    """Translate what the AWS calls of the block raise; the cause is chained.

    `meanings`: error codes that are answers to these very calls, and what they mean. A code that
    means something to one operation means nothing to another, so there is no common table.
    """
    try:
        yield
    except AWS_ERRORS as error:
        meaning = (meanings or {}).get(code_of(error))
        raise (meaning(str(error)) if meaning else translate(error)) from error
