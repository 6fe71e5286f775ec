"""``python -m bench.coldstart``: how long a fresh process takes to its first answer.

A cold start as far as it can be had without Lambda: from the start of a process, the interpreter's
own start among it, to the answer. What starts is what `make package` makes, unpacked. Each kind of
request takes turns with the baseline, a process that imports and builds everything before it
answers: Chalice, Powertools, both of boto3's clients, all with their bytecode. The target is half
of the baseline. Shown beside it: the same baseline with none of it compiled, as packages are that
nobody compiles; and the authorizer and the token endpoint, which clients pass first. It reports a
missed target as missed; it never drops a run.
"""

from __future__ import annotations

import argparse
import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import botocore

from chalicelib.access.authorizer_context import PRINCIPAL
from chalicelib.access.credentials import generate
from chalicelib.access.grants import Grants
from chalicelib.digest import Digest
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.access import admin, signing_key
from tests.emulators.backends import moto_backend
from tests.infra.runtime import bare_environment
from tests.support import packaging
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest

TARGET = 0.6
"""A pull's first answer takes at most this part of the baseline's time."""

BASELINE = "eager baseline"
PULLS = MANIFEST_PULL, CONFIG_PULL, LAYER_PULL = "manifest pull", "config pull", "layer pull"
"""What a pull asks: for any of them a function may have to start."""
RESULTS = Path(__file__).parent / "results" / "coldstart.json"
_IMAGE = "application/vnd.oci.image.manifest.v1+json"
CONFIG, LAYER = b"{}" * 500, b"x" * 100_000
"""One is answered with its bytes, the other by a redirect."""
ADMIN = "00000000-0000-4000-8000-000000000000"
PRINCIPAL_ID = f"credential:{ADMIN}"

# Both print when they have answered, and what: the parent knows when it started them.
_OURS = """
import json, sys, time
event = json.loads(sys.argv[1])
import app
answer = getattr(app, sys.argv[2])(event, None)
print(json.dumps([time.time(), answer.get("statusCode", 200)]))
"""
_EAGER = """
import json, sys, time
event = json.loads(sys.argv[1])
import boto3
from aws_lambda_powertools import Logger, Metrics
from chalice import Chalice, Response
logger, metrics = Logger(service="moorage"), Metrics(namespace="Moorage", service="moorage")
s3, dynamodb = boto3.client("s3"), boto3.client("dynamodb")
app = Chalice(app_name="eager")
app.api.binary_types = ["*/*"]
@app.route("/{proxy+}", methods=["GET", "PATCH"], content_types=[])
def below():
    return Response(b"{}", headers={"Content-Type": "application/json"})
event = {**event, "headers": {"accept": "*/*"}, "resource": "/{proxy+}"}
event["requestContext"] = {**event["requestContext"], "resourcePath": "/{proxy+}"}
answer = app(event, None)
print(json.dumps([time.time(), answer["statusCode"]]))
"""


@dataclass(frozen=True)
class Kind:
    """A first request: its program, its event (made anew for each run), the status it must have."""

    name: str
    program: str
    function: str
    event: Callable[[], Mapping[str, Any]]
    path: tuple[Path, ...]
    """Where Python looks before its own library."""
    status: int = 200


def main() -> int:
    """Measure in turns, print a table, write the results."""
    parser = argparse.ArgumentParser(prog="python -m bench.coldstart", description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON")
    parser.add_argument("--repeats", type=int, default=10, help="processes of each kind")
    options = parser.parse_args()
    seconds = measure(options.repeats)
    ratios = ratios_of(seconds)
    for name, taken in seconds.items():
        verdict = _verdict(ratios[name]) if name in PULLS else ""
        print(
            f"{name:22} {median(taken) * 1000:6.0f} ms  {ratios[name]:.2f} of the baseline{verdict}"
        )
    document = {"repeats": options.repeats, "seconds": seconds, "ratios": ratios, "target": TARGET}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def measure(repeats: int) -> dict[str, list[float]]:
    """Start processes of each kind in turns; return the seconds to their answers."""
    with ExitStack() as running:
        backend = running.enter_context(moto_backend())
        token = generate()
        environment = deployed(backend, token)
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        code = Code.laid_out(folder)
        seconds: dict[str, list[float]] = {}
        for repeat in range(repeats + 1):
            for kind in kinds(registry_over(backend), code, token):
                taken = first_answer(kind, environment)
                if repeat:  # the first round fills the file system's cache
                    seconds.setdefault(kind.name, []).append(taken)
    return seconds


def ratios_of(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return each kind's median as a part of the baseline's."""
    baseline = median(seconds[BASELINE])
    return {name: median(taken) / baseline for name, taken in seconds.items()}


def _verdict(ratio: float) -> str:
    return ", target met" if ratio <= TARGET else f", target {TARGET} MISSED"


def deployed(backend: Backend, token: str) -> dict[str, str]:
    """Set access control up, with an API token, and return a function's environment."""
    key = f"/moorage/{uuid.uuid4().hex}"
    signing_key.ensure(backend.client("ssm"), key)
    store = DynamoAccessStore(backend.dynamodb(), backend.environment["MOORAGE_ACCESS_TABLE"])
    credential = admin.credential_of(token, "admin", "bench", Grants(admin=True), now=time.time())
    store.create(replace(credential, id=ADMIN))
    return {
        **backend.environment,
        "MOORAGE_AUTH": "on",
        "MOORAGE_URL": "https://registry.example.com",
        "MOORAGE_SIGNING_KEY": key,
        "AWS_LAMBDA_FUNCTION_NAME": "moorage-api",
        "POWERTOOLS_LOG_LEVEL": "ERROR",
    }


@dataclass(frozen=True)
class Code:
    """Where what is started lies."""

    ours: tuple[Path, ...]
    eager: tuple[Path, ...]
    uncompiled: tuple[Path, ...]

    @classmethod
    def laid_out(cls, folder: Path) -> Code:
        """Package the functions for this machine, and copy what the baseline would pack."""
        packaging.unpack(folder / "task")
        installed = Path(botocore.__file__).parents[1]
        bare = shutil.ignore_patterns("__pycache__")
        for name in ("chalice", "aws_lambda_powertools", "boto3", "botocore", "s3transfer"):
            shutil.copytree(installed / name, folder / "eager" / name, ignore=bare)
        for name in ("dateutil", "jmespath", "urllib3"):
            shutil.copytree(installed / name, folder / "eager" / name, ignore=bare)
        for name in ("six.py", "typing_extensions.py"):
            shutil.copyfile(installed / name, folder / "eager" / name)
        return cls((folder / "task",), (installed,), (folder / "eager",))


def kinds(registry: RegistryUnderTest, code: Code, token: str) -> list[Kind]:
    """All first requests, the baseline among them; each push and pull finds what it asks for."""
    deadline, uploads = registry.clock.now() + 29, registry.registry.uploads
    for blob in (CONFIG, LAYER):
        uploads.put_whole("a/b", PRINCIPAL_ID, Digest.of(blob), blob)
    manifest = json.dumps({"schemaVersion": 2, "config": _named(CONFIG), "layers": [_named(LAYER)]})
    put = registry.ask("PUT", "a/b/manifests/v1", manifest.encode(), content_type=_IMAGE)
    if put.status != 201:  # noqa: PLR2004 - HTTP's own
        raise RuntimeError(f"the manifest was answered {put.status}: {put.body!r}")
    opened = uploads.start("a/b", PRINCIPAL_ID)
    session = uploads.append(opened.owner, opened.ticket or "", b"begun", 0, deadline)
    config, layer = (f"a/b/blobs/{Digest.of(blob)}" for blob in (CONFIG, LAYER))
    patch = f"a/b/blobs/uploads/{session.id}?at={session.offset}"
    return [
        Kind(BASELINE, _EAGER, "app", lambda: event("GET", ""), code.eager),
        Kind("uncompiled", _EAGER, "app", lambda: event("GET", ""), code.uncompiled),
        Kind("/v2/", _OURS, "app", lambda: event("GET", ""), code.ours),
        Kind(MANIFEST_PULL, _OURS, "app", lambda: event("GET", "a/b/manifests/v1"), code.ours),
        Kind(CONFIG_PULL, _OURS, "app", lambda: event("GET", config), code.ours),
        Kind(LAYER_PULL, _OURS, "app", lambda: event("GET", layer), code.ours, 307),
        Kind("POST", _OURS, "app", lambda: event("POST", "a/b/blobs/uploads"), code.ours, 202),
        Kind("PATCH", _OURS, "app", lambda: event("PATCH", patch, "chunk"), code.ours, 202),
        Kind("authorizer", _OURS, "authorize", lambda: asked_for(token), code.ours),
        Kind("token endpoint", _OURS, "app", lambda: logging_in(token), code.ours),
    ]


def _named(blob: bytes) -> dict[str, object]:
    kind = "application/vnd.oci.image.layer.v1.tar"
    return {"mediaType": kind, "digest": str(Digest.of(blob)), "size": len(blob)}


def password(token: str) -> str:
    """Return the header of somebody who sends an API token as a password."""
    return f"Basic {base64.b64encode(f'admin:{token}'.encode()).decode()}"


def asked_for(token: str) -> dict[str, str]:
    """Return the event of an authorizer that is asked who that is."""
    arn = "arn:aws:execute-api:us-east-1:123456789012:api/v2/GET/"
    return {"type": "TOKEN", "methodArn": arn, "authorizationToken": password(token)}


def logging_in(token: str) -> dict[str, Any]:
    """Return the event of somebody who asks for a token: what clients do first of all."""
    asked = event("GET", "_token")
    asked["resource"] = asked["requestContext"]["resourcePath"] = "/_token"
    asked["multiValueHeaders"] = {"Authorization": [password(token)]}
    query = {"service": ["registry.example.com"], "scope": ["repository:a/b:pull"]}
    return {**asked, "pathParameters": None, "multiValueQueryStringParameters": query}


def event(method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """Return a proxy event of somebody whom the authorizer knows."""
    path, _, at = path.partition("?at=")
    resource = "/{proxy+}" if path else "/"
    return {
        "httpMethod": method,
        "resource": resource,
        "path": f"/{path}",
        "headers": {},
        "multiValueHeaders": {},
        "multiValueQueryStringParameters": {"at": [at]} if at else None,
        "pathParameters": {"proxy": path} if path else None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "requestId": "r",
            "authorizer": {PRINCIPAL: PRINCIPAL_ID, "source": ADMIN, "version": "1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }


def first_answer(kind: Kind, environment: Mapping[str, str]) -> float:
    """Start a process and return the seconds to its answer; raises where that is another one."""
    began = time.time()
    ended = subprocess.run(
        [sys.executable, "-S", "-c", kind.program, json.dumps(kind.event()), kind.function],
        cwd=kind.path[0],
        env={**environment, **bare_environment(kind.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    answered, status = json.loads(ended.stdout.splitlines()[-1])
    if status != kind.status:
        raise RuntimeError(f"{kind.name} was answered {status}: {ended.stdout}{ended.stderr}")
    return float(answered - began)


if __name__ == "__main__":
    sys.exit(main())
