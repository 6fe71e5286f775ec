"""Tracing: a segment for each call to AWS, under the one that Lambda makes of an invocation.

Powertools' Tracer needs the X-Ray SDK, which no deployment carries unless it is packed on purpose.
This module must never trace other HTTP than botocore's, for whose sake URLs would be told.
"""

import logging

_log = logging.getLogger("moorage.tracing")


def start(service: str) -> None:
    """Have calls to AWS traced; without the SDK say so, and leave Lambda's own segments alone.

    Whether there is a trace at all, the function's TracingConfig says.
    """
    try:
        from aws_lambda_powertools import Tracer  # noqa: PLC0415 - it takes the SDK along

        Tracer(service=service, patch_modules=("botocore",))
    except ImportError:
        _log.warning("calls to AWS are not traced: add aws-xray-sdk to requirements.txt")
