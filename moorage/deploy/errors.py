"""What stops a deployment, in one line that says what to do.

This module must never let an error of AWS pass as a traceback, nor show a secret.
"""

from botocore.exceptions import ClientError, NoCredentialsError

from moorage.common.aws import AWS_ERRORS, explain
from moorage.common.errors import CommandError

__all__ = ["AWS_ERRORS", "DeployError", "say"]

_GUIDE = "docs/deploy.md"
_DENIED = frozenset({"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_WAIT = frozenset({"Throttling", "ThrottlingException", "RequestLimitExceeded", "SlowDown"})


class DeployError(CommandError):
    """A deployment can't go on."""


def say(error: BaseException) -> str:
    """Say in one line what an error of AWS, or of a store above it, means and what to do."""
    cause = error.__cause__ if isinstance(error.__cause__, ClientError) else error
    if isinstance(cause, NoCredentialsError):
        return "no AWS credentials: log in to AWS, or set AWS_PROFILE to one of your profiles"
    if not isinstance(cause, ClientError):
        return explain(error)
    details = cause.response.get("Error", {})
    code, message = details.get("Code", ""), " ".join(details.get("Message", "").split())
    if code in _DENIED:
        return (
            f"AWS denies {cause.operation_name}: {_GUIDE} lists what a deployment needs, and who"
            f" manages the account can grant it ({message})"
        )
    if code in _WAIT:
        return f"AWS asks to slow down ({cause.operation_name}): wait a minute and run it again"
    return explain(error)
