"""AWS for the commands that use it: clients, and errors put into words.

This module must never send anything of the user's AWS settings to an endpoint that is given by
hand, nor let the SDK log what it sends: signing keys are among it.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from chalicelib.errors import RegistryError, TooManyRequestsError
from moorage.common.data import REGION

AWS_ERRORS = (BotoCoreError, ClientError, ResponseParserError, HTTPError)

_LIST_EXPORTS = "ListExports"
_DENIED = frozenset(
    {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized"}
)
_NOT_TAKEN = frozenset(
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
# What a profile or variable of the user's would add. An explicit None overrides both.
_NOTHING_OF_THE_USERS: Mapping[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}


@dataclass(frozen=True, slots=True)
class Aws:
    """AWS as the user's settings say; or, at an `endpoint`, an emulator with nothing of theirs."""

    endpoint: str | None = None

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client; raises BotoCoreError where the settings can't make one."""
        config = Config(
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": 3, "mode": "standard"},
        )
        if self.endpoint is None:
            # The SDK itself reads AWS_DEFAULT_REGION only.
            region = os.environ.get("AWS_REGION") or None
            return boto3.session.Session(region_name=region).client(service, config=config)  # type: ignore[call-overload]
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
    """Keep the SDK from logging its requests: at the level of debug it logs all that is sent."""
    logger = logging.getLogger("botocore")
    logger.setLevel(max(logging.INFO, logger.getEffectiveLevel()))


def explain(error: BaseException, table: str | None = None) -> str:
    """Say in one line what an error of AWS, or of a store above it, means and what to do."""
    if isinstance(error, RegistryError):
        if isinstance(error, TooManyRequestsError):
            return "AWS asks to slow down: wait a moment and try again"
        if not isinstance(error.__cause__, AWS_ERRORS):
            return f"{error.message}: try again"
        error = error.__cause__
    text = _of_answer(error, table) if isinstance(error, ClientError) else _of_sdk(error)
    return " ".join(text.split())


def _of_answer(error: ClientError, table: str | None) -> str:
    details = error.response.get("Error", {})
    code, message = details.get("Code", "an error"), details.get("Message", "")
    if code == "ResourceNotFoundException":
        return (
            f"there is no table {table}: name it by --table or $MOORAGE_ACCESS_TABLE, and see that"
            " AWS_REGION and AWS_PROFILE say where it is"
        )
    if code in _DENIED:
        other = "name the table by --table, or " if error.operation_name == _LIST_EXPORTS else ""
        return f"AWS denies {error.operation_name}: {other}ask who manages the account ({message})"
    if code in _NOT_TAKEN:
        return f"AWS doesn't take these credentials: log in to AWS again ({code}: {message})"
    return f"AWS answers {error.operation_name} with {code}: {message}"


def _of_sdk(error: BaseException) -> str:
    if isinstance(error, _NO_CREDENTIALS):
        return (
            "no AWS credentials: log in to AWS, or set AWS_PROFILE; for a local registry give"
            f" --aws-endpoint ({error})"
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
