"""The log in Lambda: its format, and the one line of each invocation, which metrics are made of.

This module must never decide what a request means, let an error of the line reach the client, nor
touch the log of a person's own process.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from chalicelib.errors import RegistryError
from chalicelib.settings import SettingsError, TelemetrySettings
from chalicelib.telemetry.line import LogLine, line_of
from chalicelib.telemetry.tally import tallied

NAMESPACE = "moorage"
"""The name above all loggers of chalicelib."""

LONGEST_PASS = 3 * 24 * 3600
"""Seconds after which a pass of the collector that is not over is trouble."""

_log = logging.getLogger("moorage.log")
_printers: list[Callable[[LogLine], None]] = []


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
    from aws_lambda_powertools.logging import Logger  # noqa: PLC0415 - a local registry never needs it

    Logger(service=NAMESPACE)
    try:
        wanted = TelemetrySettings.read(environment)
    except SettingsError as error:
        # A registry that can't be watched is better than none.
        _log.error("no metrics and no tracing: %s", error)
        return
    if wanted.metrics:
        from chalicelib.telemetry.metrics import MetricsPrinter  # noqa: PLC0415 - it costs each cold start

        _printers[:] = [MetricsPrinter(wanted.service)]
    if wanted.tracing:
        from chalicelib.telemetry import tracing  # noqa: PLC0415 - likewise

        tracing.start(environment)


def write(logger: logging.Logger, line: LogLine, message: str, *args: object) -> None:
    """Write the line of an invocation, and its metrics where they are on."""
    level = _level(line)
    if logger.isEnabledFor(level):
        logger.log(level, message, *args, extra=line._asdict(), stacklevel=2)
    for printer in _printers:
        try:
            printer(line)
        except Exception:  # noqa: BLE001 - the request is done, with or without its metrics
            _log.exception("an invocation was not measured")


@contextmanager
def invocation(logger: logging.Logger, action: str, **known: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any field of LogLine
    """Write the line of a function beside the API when the block ends, by an error too.

    The line has the fields that the block puts into the mapping it is given.
    """
    fields: dict[str, Any] = {"status": 200, **known}
    with tallied() as tally:
        try:
            yield fields
        except RegistryError as error:
            fields |= {"status": error.code.status, "error": error.code.code}
            raise
        except Exception:
            fields |= {"status": 500, "error": "UNKNOWN"}
            raise
        finally:
            line = line_of(tally, action=action, **fields)
            write(logger, line, "%s %d %.0f ms", action, line.status, line.milliseconds)


def _level(line: LogLine) -> int:
    # Alarms read these lines, so a deployment that logs warnings only must still write them. A
    # client's usual errors (401, 404, 416) are no warning; a commit that found no bytes is, and so
    # is what the collector found lost, or did not come to an end with.
    lost = line.action == "commit" and line.status >= HTTPStatus.BAD_REQUEST
    lost = lost or (line.lost or 0) > 0 or (line.pass_age or 0) > LONGEST_PASS
    return logging.WARNING if lost or line.status >= HTTPStatus.TOO_MANY_REQUESTS else logging.INFO
