"""How the log of what runs in Lambda looks: one JSON line for each record.

This module must never decide what is logged, nor touch the log of a person's own process.
"""

from collections.abc import Mapping

NAMESPACE = "moorage"
"""The name above all loggers of chalicelib."""


def configure(environment: Mapping[str, str]) -> None:
    """Write records of INFO and above as JSON lines, in Lambda only; `environment` says whether.

    Lambda's own root logger shows warnings only, so without this no request is ever logged. A
    record's `extra` become keys. POWERTOOLS_LOG_LEVEL changes the level.
    """
    if "AWS_LAMBDA_FUNCTION_NAME" not in environment:
        return
    from aws_lambda_powertools import Logger  # noqa: PLC0415 - a local registry never needs it

    Logger(service=NAMESPACE)
