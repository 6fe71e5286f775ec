"""How the log of what runs in Lambda looks: one JSON line for each record.

This module must never decide what is logged, nor touch the log of a person's own process.
"""

import logging
from collections.abc import Mapping

NAMESPACE = "moorage"
"""The name above all loggers of chalicelib."""


def configure(environment: Mapping[str, str]) -> None:
    """Write records of INFO and above as JSON lines, in Lambda only; `environment` says whether.

    Lambda's own root logger shows warnings only, so without this no request is ever logged. A
    record's `extra` become keys. POWERTOOLS_LOG_LEVEL changes the level, but not the SDK's: it
    would log what it sends and gets, and signing keys and hashes are among that.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" not in environment:
        return
    logging.getLogger("botocore").setLevel(logging.INFO)
    logging.getLogger("boto3").setLevel(logging.INFO)
    from aws_lambda_powertools import Logger  # noqa: PLC0415 - a local registry never needs it

    Logger(service=NAMESPACE)
