"""A new process loads what its first answer needs, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bench import coldstart
from chalicelib.access.credentials import generate
from tests.infra.runtime import bare_environment, run_bare
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulators.backends import Backend

SELDOM = ("boto3", "concurrent.futures.thread", "cryptography", "jwt", "s3transfer")
"""Slow to import; the table below has the requests that need them."""

_PROGRAM = """
import json, sys
import app
answer = getattr(app, sys.argv[2])(json.loads(sys.argv[1]), None)
from chalicelib.stores.aws import clients
from botocore.client import BaseClient
import gc
made = sorted(
    each.meta.service_model.service_name
    for each in gc.get_objects() if issubclass(type(each), BaseClient)
)
print(json.dumps([answer.get("statusCode", 200), made, sorted(sys.modules)]))
"""

UPLOAD = {"blobs", "upload.chunks", "upload.runner", "upload.uploads"}
NEEDS = {
    "/v2/": (["dynamodb"], set(), set()),
    "manifest pull": (["dynamodb"], {"manifests"}, {"manifests.reading"}),
    "config pull": (["dynamodb"], {"blobs"}, {"blobs"}),
    "layer pull": (["dynamodb", "s3"], {"blobs"}, {"blobs"}),
    "POST": (["dynamodb", "ssm"], {"uploads"}, UPLOAD),
    "PATCH": (["dynamodb", "s3"], {"uploads"}, UPLOAD),
    "authorizer": (["dynamodb", "ssm"], set(), set()),
    "token endpoint": (["dynamodb", "ssm"], {"token"}, set()),
}
"""By first request: AWS clients, modules of handlers, modules of services."""

VERIFYING = {"authorizer", "token endpoint"}
"""The requests that verify tokens."""

HANDLERS = {"blobs", "lists", "manifests", "token", "uploads"}
MANIFESTS = {"manifests.publishing", "manifests.pushing", "manifests.reading", "manifests.removal"}
SERVICES = {"blobs", "lists", "sweeper"} | MANIFESTS | UPLOAD


@pytest.mark.parametrize("name", NEEDS)
def test_a_first_request_loads_what_it_needs(name: str, task: Path, strict_moto: Backend) -> None:
    """Its handler, services and clients, and the code for tokens only where it verifies one."""
    token, backend = generate(), strict_moto.fresh()
    code = coldstart.Code((task,), (), ())
    kinds = {each.name: each for each in coldstart.kinds(registry_over(backend), code, token)}
    kind = kinds[name]
    environment = {**coldstart.deployed(backend, token), **bare_environment(kind.path)}
    done = run_bare(_PROGRAM, environment, json.dumps(kind.event()), kind.function, cwd=task)
    assert done.returncode == 0, done.stderr
    status, made, loaded = json.loads(done.stdout.splitlines()[-1])
    assert status == kind.status, done.stdout
    clients, handlers, services = NEEDS[name]
    assert made == clients
    assert {each for each in HANDLERS if f"chalicelib.api.{each}" in loaded} == handlers
    assert {each for each in SERVICES if f"chalicelib.registry.{each}" in loaded} == services
    verifying = {"cryptography", "jwt"} if name in VERIFYING else set()
    assert {each for each in SELDOM if each in loaded} == verifying
    assert ("chalicelib.access.token_service" in loaded) is (name == "token endpoint")
