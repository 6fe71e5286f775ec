"""``python -m bench.coldstart_parts``: where a new process's own time goes, in CPU milliseconds.

Least of many processes: other work on a machine only ever adds. One kind is the packaged code, the
other the baseline of bench/coldstart.py. It measures imports and the making of clients, no answer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.coldstart import Code
from tests.infra.runtime import bare_environment

ENVIRONMENT = {
    "AWS_LAMBDA_FUNCTION_NAME": "moorage-api",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "none",
    "AWS_SECRET_ACCESS_KEY": "none",
}

_CLOCK = """
import json, sys, time
laps = [["Python", time.process_time()]]
def lap(name):
    laps.append([name, time.process_time()])
"""
_LIBRARIES = """
import chalice.app; lap("Chalice")
import urllib3; lap("urllib3")
import botocore.session; lap("botocore")
"""
_OURS = f"""
import gc; gc.disable()
{_CLOCK}{_LIBRARIES}
from aws_lambda_powertools.logging import Logger; lap("Powertools' Logger")
import chalicelib.telemetry.tally; lap("telemetry")
import app; lap("Moorage for /v2/")
from chalicelib.stores.aws import clients
session = clients.session(); session.create_client("dynamodb"); lap("session, DynamoDB client")
import chalicelib.registry.registry, chalicelib.registry.service, chalicelib.registry.upload.uploads
import chalicelib.stores.dynamodb.metadata, chalicelib.stores.dynamodb.sessions
import chalicelib.stores.s3.objects
import chalicelib.api.uploads; lap("stores, uploads")
session.create_client("s3"); lap("S3 client")
import jwt; lap("PyJWT")
from chalicelib.wiring import access; lap("Moorage for the authorizer")
from chalicelib.telemetry import metrics
from aws_lambda_powertools.metrics import EphemeralMetrics; lap("metrics")
print(json.dumps(laps))
"""
_EAGER = f"""
{_CLOCK}{_LIBRARIES}
import boto3; lap("boto3")
from aws_lambda_powertools import Logger, Metrics; lap("Powertools")
boto3.client("dynamodb"); lap("session, DynamoDB client")
boto3.client("s3"); lap("S3 client")
print(json.dumps(laps))
"""


def main() -> int:
    """Measure in turns and print both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.coldstart_parts", description=__doc__)
    parser.add_argument("--repeats", type=int, default=25, help="processes of each kind")
    options = parser.parse_args()
    least: dict[str, dict[str, float]] = {"packaged": {}, "eager baseline": {}}
    with tempfile.TemporaryDirectory() as name:
        code = Code.laid_out(Path(name))
        for _ in range(options.repeats):
            _keep_least(least["packaged"], laps(_OURS, code.ours))
            _keep_least(least["eager baseline"], laps(_EAGER, code.eager))
    for kind, parts in least.items():
        print(f"{kind}: {sum(parts.values()) * 1000:.0f} ms")
        for part, seconds in parts.items():
            print(f"  {part:28} {seconds * 1000:6.1f}")
    return 0


def laps(program: str, path: tuple[Path, ...]) -> dict[str, float]:
    """Run a program and return the CPU seconds of each of its parts."""
    ended = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=path[0],
        env={**ENVIRONMENT, **bare_environment(path)},
        check=True,
        capture_output=True,
        text=True,
    )
    ends = json.loads(ended.stdout)
    begins = [0.0, *(at for _, at in ends)]
    return {name: at - began for (name, at), began in zip(ends, begins, strict=False)}


def _keep_least(least: dict[str, float], found: dict[str, float]) -> None:
    for name, seconds in found.items():
        least[name] = min(seconds, least.get(name, seconds))


if __name__ == "__main__":
    sys.exit(main())
