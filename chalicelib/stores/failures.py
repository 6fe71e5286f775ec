"""What the rules are told when AWS fails: 503 or 429 with a time to retry, never "absent".

This module must never turn an error into an answer.
"""

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.errors import RegistryError, TooManyRequestsError, UnavailableError

AWS_ERRORS = (BotoCoreError, ClientError)

_THROTTLED = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def code_of(error: BaseException) -> str:
    """Return the AWS error code of a ClientError, else an empty text."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


def translate(error: BaseException) -> RegistryError:
    """Say to a client what an AWS error means for it; the cause is for the log."""
    if code_of(error) in _THROTTLED:
        return TooManyRequestsError("the storage below is being throttled", retry_after=2)
    return UnavailableError("the storage below could not be reached or answered with an error")
