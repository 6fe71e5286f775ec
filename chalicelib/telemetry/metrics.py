"""THE table of metrics, and how a log line becomes metrics, in CloudWatch's embedded format.

Each set of dimensions has a price, so these are few, and none is a name that a client gave.
This module must never call AWS: CloudWatch makes metrics of what is printed into Lambda's log.
"""

from collections import defaultdict
from collections.abc import Mapping
from http import HTTPStatus

from chalicelib.dataclass import dataclass
from chalicelib.telemetry.line import LogLine

NAMESPACE = "Moorage"

WORKS = ("pull", "push", "background", "other")
"""What an invocation is for, coarser than its action: each one costs two metrics more."""

OUTCOMES = ("committed", "cancelled", "cleaned", "postponed", "manifest", "failed")
"""The sweeper's outcomes that are metrics: `nothing` is no work."""

COLLECTED = ("links", "records", "objects")
"""What the collector deletes that is a metric."""


@dataclass(frozen=True)
class Metric:
    """A metric; beside `service` it has at most one dimension."""

    unit: str
    dimension: str | None = None
    values: tuple[str, ...] = ("",)
    """The values that its dimension takes."""


METRICS: Mapping[str, Metric] = {
    "Pushes": Metric("Count"),
    "Pulls": Metric("Count"),
    "BytesIn": Metric("Bytes"),
    "BytesOut": Metric("Bytes"),
    "BytesRedirected": Metric("Bytes"),
    "Resumes": Metric("Count"),
    "LeasesTakenOver": Metric("Count"),
    "HashStateFallbacks": Metric("Count"),
    "CommitSeconds": Metric("Seconds"),
    "Refusals": Metric("Count"),
    "Faults": Metric("Count"),
    "Throttled": Metric("Count"),
    "ColdStarts": Metric("Count"),
    "AwsRetries": Metric("Count"),
    "S3Calls": Metric("Count", "work", WORKS),
    "DynamoDBCalls": Metric("Count", "work", WORKS),
    "Swept": Metric("Count", "outcome", OUTCOMES),
    "Expired": Metric("Count"),
    "Collected": Metric("Count", "kind", COLLECTED),
    "BytesFreed": Metric("Bytes"),
    "LostBlobs": Metric("Count"),
}

_PULLED = frozenset({200, 206, 307})
_PULLS = frozenset({"blobs.get", "manifests.get"})
_WORK_OF = {
    "pull": "pull",
    "push": "push",
    "commit": "background",
    "verify": "background",
    "sweep": "background",
    "collect": "background",
}

Dimension = tuple[str, str] | None
"""A dimension beside `service`: its name and its value."""


def measured(line: LogLine) -> dict[Dimension, dict[str, float]]:
    """Return what an invocation adds to the metrics. Zeros are left out, but for calls to AWS.

    Their average is calls for each operation, which needs those that made none.
    """
    found: defaultdict[Dimension, dict[str, float]] = defaultdict(dict)
    values = {**_work(line), **_trouble(line)}
    found[None] = {name: float(value) for name, value in values.items() if value}
    work = ("work", _WORK_OF.get(line.action or "", "other"))
    found[work] = {"S3Calls": line.s3_calls, "DynamoDBCalls": line.dynamodb_calls}
    for outcome, number in (line.swept or {}).items():
        if outcome in OUTCOMES and number:
            found["outcome", outcome]["Swept"] = number
    for kind in COLLECTED:
        if gone := (line.collected or {}).get(kind):
            found["kind", kind]["Collected"] = gone
    return {dimension: values for dimension, values in found.items() if values}


def _work(line: LogLine) -> dict[str, float]:
    manifest = line.operation == "manifests.put"
    blobs = (line.swept or {}).get("committed", line.committed)
    seconds = line.milliseconds / 1000 if line.swept is None else 0
    return {
        "Pushes": line.status == HTTPStatus.CREATED if manifest else blobs,
        "Pulls": line.operation in _PULLS and line.status in _PULLED,
        "BytesIn": line.bytes_in,
        "BytesOut": line.bytes_out,
        "BytesRedirected": line.bytes_redirected,
        "Resumes": line.resumed,
        "LeasesTakenOver": line.taken_over,
        "HashStateFallbacks": line.unhashed,
        "CommitSeconds": seconds if line.committed and not manifest else 0,
        "Expired": (line.expired or {}).get("images", 0),
        "BytesFreed": line.bytes_freed or 0,
    }


def _trouble(line: LogLine) -> dict[str, float]:
    throttled = line.status == HTTPStatus.TOO_MANY_REQUESTS
    return {
        "Refusals": HTTPStatus.BAD_REQUEST <= line.status < HTTPStatus.INTERNAL_SERVER_ERROR
        and not throttled,
        "Faults": line.status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        "Throttled": throttled,
        "ColdStarts": line.cold_start,
        "AwsRetries": line.retries,
        "LostBlobs": line.lost or 0,
    }


class MetricsPrinter:
    """Prints the metrics of invocations."""

    def __init__(self, service: str) -> None:
        # Loaded here and not above: only a deployment that wants metrics needs it.
        from aws_lambda_powertools.metrics import EphemeralMetrics  # noqa: PLC0415 - as said

        self._metrics = EphemeralMetrics
        self._service = service

    def __call__(self, line: LogLine) -> None:
        """Print one line for each set of dimensions."""
        for dimension, values in measured(line).items():
            metrics = self._metrics(service=self._service, namespace=NAMESPACE)
            if dimension is not None:
                metrics.add_dimension(*dimension)
            for name, value in values.items():
                metrics.add_metric(name=name, unit=METRICS[name].unit, value=value)
            metrics.flush_metrics()
