"""AWS for the commands that use it: clients, and what its errors mean.

This module must never send anything of the user's AWS settings to an endpoint given by hand, nor
let the SDK log its requests: they contain signing keys.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.errors import RegistryError, TooManyRequestsError
from chalicelib.stores.aws.failures import AWS_ERRORS, code_of, translate
from moorage.common.data import REGION
from moorage.common.errors import CommandError

__all__ = ["AWS_ERRORS", "Aws", "code_of", "explained", "found", "is_missing", "quiet_sdk"]

_LIST_EXPORTS = "ListExports"
# The answer to a HEAD has no code but its status.
_DENIED = frozenset(
    {"403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"}
)
_NO_TABLE = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
_MISSING = _NO_TABLE | {"404", "NoSuchBucket", "NotFound"}
_REFUSED_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
)
_LOGIN_OVER = (exceptions.SSOError, exceptions.TokenRetrievalError)
_NO_ANSWER = (exceptions.ConnectionError, exceptions.HTTPClientError)
# What the user's profile or variables would add. An explicit None overrides both.
_NOTHING_OF_THE_USERS: Mapping[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@dataclass(frozen=True, slots=True)
class Aws:
    """AWS by the user's settings; or an emulator at `endpoint`, without those settings.

    `region` and `profile` go before what the settings say.
    """

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client; raises BotoCoreError if the settings don't suffice."""
        config = Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 3, "mode": "standard"},
        )
        if self.endpoint is None:
            # The SDK itself reads AWS_DEFAULT_REGION only.
            region = self.region or os.environ.get("AWS_REGION") or None
            session = boto3.session.Session(region_name=region, profile_name=self.profile)
            return session.client(service, config=config)  # type: ignore[call-overload]
        plain = botocore.session.Session(session_vars=dict(_NOTHING_OF_THE_USERS))
        session = boto3.session.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - made up: an emulator checks none
            region_name=REGION,
            botocore_session=plain,
        )
        # An emulator is reached directly.
        config = config.merge(Config(proxies={}))
        return session.client(service, endpoint_url=self.endpoint, config=config)  # type: ignore[call-overload]


def quiet_sdk() -> None:
    """Keep the SDK from logging its requests, as it does at the level of debug."""
    logger = logging.getLogger("botocore")
    logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))


def is_missing(error: BaseException) -> bool:
    """Return whether AWS answered that there is no such bucket or table."""
    return code_of(error) in _MISSING


def found(call: Callable[[], object]) -> bool:
    """Call AWS; return False where there is no such bucket or table. Raises ClientError."""
    try:
        call()
    except ClientError as error:
        if is_missing(error):
            return False
        raise
    return True


@contextlib.contextmanager
def explained(
    table: str | None = None,
    variable: str = "MOORAGE_ACCESS_TABLE",
    *,
    kind: type[CommandError] = CommandError,
    rights: str = "ask who manages the account",
) -> Iterator[None]:
    """Raise a CommandError of this kind for what AWS, or a store above it, raises in the block.

    Its text is one line: what the error means and what to do. `variable`: what names the table
    where `--table` does not. `rights`: what to do where AWS denies an action.
    """
    quiet_sdk()
    try:
        yield
    except (RegistryError, *AWS_ERRORS) as error:
        no_table = (
            f"there is no table {table}: name it by --table or ${variable}, and check AWS_REGION"
            " and AWS_PROFILE"
        )
        raise kind(_explanation(error, no_table, rights)) from error


def _explanation(error: BaseException, no_table: str, rights: str) -> str:
    if isinstance(error, RegistryError):
        if not isinstance(error.__cause__, AWS_ERRORS):
            return f"{error.message}: try again"
        error = error.__cause__
    text = _of_answer(error, no_table, rights) if isinstance(error, ClientError) else _of_sdk(error)
    return " ".join(text.split())


def _of_answer(error: ClientError, no_table: str, rights: str) -> str:
    code = code_of(error) or "an error"
    message, operation = error.response.get("Error", {}).get("Message", ""), error.operation_name
    if isinstance(translate(error), TooManyRequestsError):
        return f"AWS asks to slow down ({operation}): wait a minute and run it again"
    if code in _NO_TABLE:
        return no_table
    if code in _DENIED:
        other = "name the table by --table, or " if operation == _LIST_EXPORTS else ""
        return f"AWS denies {operation}: {other}{rights} ({message})"
    if code in _REFUSED_CREDENTIALS:
        return f"AWS refuses these credentials: log in to AWS again ({code}: {message})"
    return f"AWS answers {operation} with {code}: {message}"


def _of_sdk(error: BaseException) -> str:
    if isinstance(error, _NO_CREDENTIALS):
        return (
            "no AWS credentials: log in to AWS, or set AWS_PROFILE; a command that has"
            f" --aws-endpoint reaches a local registry by it ({error})"
        )
    if isinstance(error, _LOGIN_OVER):
        return f"the login to AWS is over: log in again, as by `aws sso login` ({error})"
    if isinstance(error, exceptions.NoRegionError):
        return "no AWS region: set AWS_REGION, or a profile that has one"
    if isinstance(error, exceptions.ProfileNotFound):
        return f"{error}: set AWS_PROFILE to one of yours"
    if isinstance(error, _NO_ANSWER):
        return f"AWS does not answer: look at the network, or the endpoint given ({error})"
    return str(error) or type(error).__name__
