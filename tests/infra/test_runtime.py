"""The packaged zip at work: under AWS's runtime client, on what the data stack's template made."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from chalicelib.access.credentials import generate
from chalicelib.digest import Digest
from tests.infra import deployed
from tests.infra.runtime import bare_environment

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "application/vnd.oci.image.manifest.v1+json"

pytestmark = deployed.LINUX
paths = deployed.paths
cloud = deployed.cloud
world = deployed.world
World = deployed.World


def test_the_zip_needs_nothing_but_python(paths: tuple[Path, ...]) -> None:
    """In an empty folder it is imported and answers, though Lambda has an SDK of its own."""
    program = (
        "import sys, json, app\n"
        "event = json.load(sys.stdin)\n"
        "print(json.dumps(app.app(event, None)))\n"
        "print(json.dumps(sorted({getattr(m, '__file__', None) or '' for m in"
        " list(sys.modules.values())})))\n"
    )
    event = {
        "resource": "/",
        "path": "/",
        "httpMethod": "GET",
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": "/",
            "requestId": "r",
            "identity": {"sourceIp": "127.0.0.1"},
        },
        "body": None,
        "isBase64Encoded": False,
    }
    environment = {
        "MOORAGE_BUCKET": "bucket",
        "MOORAGE_REGISTRY_TABLE": "registry",
        "MOORAGE_UPLOADS_TABLE": "uploads",
        "MOORAGE_AUTH": "off",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    done = subprocess.run(
        [sys.executable, "-S", "-c", program],
        cwd=paths[0],
        env=bare_environment(paths[:2]) | environment,
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *_, answer, files = done.stdout.splitlines()
    assert json.loads(answer)["statusCode"] == 200
    assert [name for name in json.loads(files) if "/site-packages/" in name] == []


def test_nobody_is_asked_to_log_in(world: World) -> None:
    """The ping without a login is 401, with a challenge that names the registry's address."""
    status, headers, _ = world.ask("GET", "/v2/")
    assert status == 401
    realm = f'Bearer realm="{world.url}/v2/_token",service="{urlsplit(world.url).netloc}"'
    assert headers["WWW-Authenticate"] == realm


def test_a_login_is_known(world: World) -> None:
    """The authorizer lets an API token in and refuses another, and a token is issued for it."""
    assert world.ask("GET", "/v2/", Authorization=world.basic)[0] == 200
    wrong = f"Basic {base64.b64encode(f'admin:{generate()}'.encode()).decode()}"
    assert world.ask("GET", "/v2/", Authorization=wrong)[0] == 401
    service = urlsplit(world.url).netloc
    query = f"service={service}&scope=repository:a/b:pull,push"
    status, _, body = world.ask("GET", f"/v2/_token?{query}", Authorization=world.basic)
    assert status == 200
    bearer = json.loads(body)["token"]
    assert world.ask("GET", "/v2/", Authorization=f"Bearer {bearer}")[0] == 200


def push(world: World, name: str, data: bytes) -> dict[str, Any]:
    """Push a blob in one chunk, as docker does, and return its descriptor."""
    digest = str(Digest.of(data))
    status, headers, body = world.close(world.append(world.start(name), data), digest)
    assert status == 201, body
    assert headers["Docker-Content-Digest"] == digest
    return {"mediaType": "application/octet-stream", "digest": digest, "size": len(data)}


def test_an_image_is_pushed_and_pulled(world: World) -> None:
    """Every byte comes back, through the packaged code and what the data stack made."""
    layer, config = bytes(range(256)) * 400, b"{}"
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": push(world, "team/app", config),
            "layers": [push(world, "team/app", layer)],
        }
    ).encode()
    put = world.ask(
        "PUT",
        "/v2/team/app/manifests/1",
        manifest,
        Authorization=world.basic,
        Content_Type=IMAGE,
    )
    assert put[0] == 201, put[2]
    status, headers, body = world.ask(
        "GET", "/v2/team/app/manifests/1", Authorization=world.basic, Accept=IMAGE
    )
    assert (status, body, headers["Content-Type"]) == (200, manifest, IMAGE)
    status, _, body = world.ask(
        "GET", f"/v2/team/app/blobs/{Digest.of(layer)}", Authorization=world.basic
    )
    assert (status, body) == (200, layer)


def test_a_domain_changes_nothing(world: World) -> None:
    """Behind a base path mapping `path` begins with it: what is answered is the same."""
    assert world.ask("GET", "/v2/_catalog", Authorization=world.basic)[0] == 200
    event = world.events[-1]
    mapped = {
        **event,
        "path": f"/v2{event['path']}",
        "requestContext": {**event["requestContext"], "domainName": "registry.example.com"},
    }
    plain, behind = world.api(event), world.api(mapped)
    assert plain["statusCode"] == 200
    for each in (plain, behind):
        each["headers"] = {n: v for n, v in each["headers"].items() if "request" not in n.lower()}
        each.pop("multiValueHeaders", None)
    assert behind == plain
