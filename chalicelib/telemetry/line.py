"""How the log of what runs in Lambda looks, and the one line of each invocation.

The line goes to the metrics, too. This module must never decide what a request means, let what
goes wrong with the line reach its sender, nor touch the log of a person's own process.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from chalicelib.errors import RegistryError
from chalicelib.settings import SettingsError, TelemetrySettings
from chalicelib.telemetry.tally import Line, line, tallied

NAMESPACE = "moorage"
"""The name above all loggers of chalicelib."""

_log = logging.getLogger("moorage.log")
_meters: list[Callable[[Line], None]] = []


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
    try:
        wanted = TelemetrySettings.read(environment)
    except SettingsError as error:
        # A registry that can't be watched is better than none.
        _log.error("no metrics and no tracing: %s", error)
        return
    if wanted.metrics:
        from chalicelib.telemetry.metrics import Meter  # noqa: PLC0415 - it costs each cold start

        _meters[:] = [Meter(wanted.service)]
    if wanted.tracing:
        from chalicelib.telemetry import tracing  # noqa: PLC0415 - likewise

        tracing.start(environment)


def write(logger: logging.Logger, told: Line, message: str, *args: object) -> None:
    """Write the line of an invocation, and measure it where metrics are on."""
    level = _level(told)
    if logger.isEnabledFor(level):
        logger.log(level, message, *args, extra=told._asdict(), stacklevel=2)
    for meter in _meters:
        try:
            meter(told)
        except Exception:  # noqa: BLE001 - the request is done, whatever becomes of its numbers
            _log.exception("an invocation was not measured")


@contextmanager
def invocation(logger: logging.Logger, action: str, **known: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - any field of Line
    """Write the line of a function beside the API when the block ends, whichever way it does.

    What the block adds to the mapping it is given, the line tells.
    """
    told: dict[str, Any] = {"status": 200, **known}
    with tallied() as tally:
        try:
            yield told
        except RegistryError as error:
            told |= {"status": error.code.status, "error": error.code.code}
            raise
        except Exception:
            told |= {"status": 500, "error": "UNKNOWN"}
            raise
        finally:
            written = line(tally, action=action, **told)
            write(logger, written, "%s %d %.0f ms", action, written.status, written.milliseconds)


def _level(told: Line) -> int:
    # Alarms read these lines, so a deployment that logs warnings only must still write them. What
    # clients meet on their way (401, 404, 416) is no warning; a commit that found no bytes is.
    lost = told.action == "commit" and told.status >= HTTPStatus.BAD_REQUEST
    return logging.WARNING if lost or told.status >= HTTPStatus.TOO_MANY_REQUESTS else logging.INFO
