"""The keys of tickets at the edge, in the KeyValueStore of CloudFront that its function reads.

They are derived from the signing keys, which themselves never leave the parameter store. This
module must never log a key. Source: CloudFront Developer Guide, "Work with key value data".
"""

import base64
import re
from typing import Any, Final

from botocore.exceptions import ClientError

from chalicelib.access.signing_keys import SigningKeySet
from moorage.common.aws import AWS_ERRORS, code_of
from moorage.common.errors import CommandError

KEY: Final = "keys"
"""The one key of the store; infra/edge.js reads it."""

_MISSING: Final = "ResourceNotFoundException"
_CHANGED: Final = "ConflictException"
_TRIES: Final = 3
_PARAMETER: Final = re.compile(r"/moorage/([a-z][a-z0-9]*)/signing-key")


class EdgeKeysError(CommandError):
    """The keys could not be stored at the edge; the text says what to do."""


def text_of(keys: SigningKeySet) -> str:
    """Return what the store holds of some signing keys: a secret, as the keys are."""
    derived = (base64.urlsafe_b64encode(key).decode() for key in keys.ticket_keys())
    return " ".join(word.rstrip("=") for word in derived)


def store(client: Any, arn: str, keys: SigningKeySet) -> bool:  # noqa: ANN401 - boto3's clients are made at run time
    """Let the edge know the keys; return whether it did not yet. `client`: of the store's data.

    Raises EdgeKeysError if others change the store all the time, ClientError.
    """
    wanted = text_of(keys)
    for _ in range(_TRIES):
        etag = client.describe_key_value_store(KvsARN=arn)["ETag"]
        if _present(client, arn) == wanted:
            return False
        try:
            client.put_key(KvsARN=arn, Key=KEY, Value=wanted, IfMatch=etag)
        except ClientError as error:
            if code_of(error) != _CHANGED:
                raise
        else:
            return True
    raise EdgeKeysError(f"the store {arn} is changed all the time: run the command again")


def arn_of(cloudformation: Any, parameter: str) -> str | None:  # noqa: ANN401 - likewise
    """Return the store of the registry whose signing key this parameter is; None: no edge."""
    stage = _PARAMETER.fullmatch(parameter)
    if stage is None:
        return None
    wanted = f"moorage-{stage[1]}-edge-StoreArn"
    pages = cloudformation.get_paginator("list_exports").paginate()
    exports = (each for page in pages for each in page["Exports"])
    return next((str(each["Value"]) for each in exports if each["Name"] == wanted), None)


def follow(client: Any, arn: str, keys: SigningKeySet) -> None:  # noqa: ANN401 - likewise
    """Let the edge know keys that were just replaced.

    Raises EdgeKeysError, which says that the replacement itself was done.
    """
    try:
        store(client, arn, keys)
    except (*AWS_ERRORS, EdgeKeysError) as error:
        raise EdgeKeysError(
            "the step was taken, but the edge does not know the keys yet, and may refuse pushes and"
            f" pulls: run `moorage deploy`, which stores them there ({error})"
        ) from error


def _present(client: Any, arn: str) -> str | None:  # noqa: ANN401 - likewise
    try:
        return str(client.get_key(KvsARN=arn, Key=KEY)["Value"])
    except ClientError as error:
        if code_of(error) != _MISSING:
            raise
        return None
