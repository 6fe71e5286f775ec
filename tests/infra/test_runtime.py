"""The packaged zip at work: under AWS's runtime client, on what the data stack's template made.

In front of it stands the gateway, with the routes and authorizers of the packaged template.
"""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yaml

from chalicelib.access.credentials import generate
from chalicelib.digest import Digest
from moorage import access_admin, access_setup, ports
from moorage.backend import DATA_TEMPLATE
from moorage.gateway import Front, GatewayOptions
from moorage.gateway_answers import read_answers
from moorage.gateway_authorizer import TokenAuthorizer
from moorage.gateway_routes import Resources
from tests.infra.runtime import CLIENT, SDK, Function, bare_environment, lay_out, running
from tests.support.backends import Backend, moto_backend
from tests.support.servers import run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Lambda's runtime client is Linux's"
)

DATA = "moorage-x-data"
KEY = "/moorage/x/signing-key"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
METHODS = ("get", "head", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def paths(task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The unpacked zip, and what Lambda has beside it."""
    folder = tmp_path_factory.mktemp("lambda")
    lay_out(folder / "runtime", SDK)
    lay_out(folder / "client", CLIENT)
    return task, folder / "runtime", folder / "client"


@dataclass
class World:
    """A registry behind the gateway, as it would be deployed."""

    url: str
    token: str
    environment: dict[str, str]
    api: Function
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, named)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, answer.headers, content

    @property
    def basic(self) -> str:
        """The admin's login, as clients send it first."""
        return f"Basic {base64.b64encode(f'admin:{self.token}'.encode()).decode()}"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Backend]:
    """An S3 and DynamoDB of this module's own: the data stack is made in it."""
    with moto_backend() as backend:
        yield backend


@pytest.fixture(scope="module")
def world(cloud: Backend, host_package: Path, paths: tuple[Path, ...]) -> Iterator[World]:
    """The data stack, a key, an admin, two functions and the gateway."""
    cloudformation = cloud.client("cloudformation")
    cloudformation.create_stack(
        StackName=DATA, TemplateBody=DATA_TEMPLATE.read_text(encoding="utf-8")
    )
    names = {export["Name"]: export["Value"] for export in cloudformation.list_exports()["Exports"]}
    access_setup.ensure_signing_key(cloud.client("ssm"), KEY)
    token = generate()
    store = access_admin.open_store(cloud.dynamodb(), names[f"{DATA}-AccessTableName"])
    access_setup.create_admin(store, token, "admin", "a test", 0.0, "an-id")
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    aws = {name: v for name, v in cloud.environment.items() if not name.startswith("MOORAGE_")}
    environment = aws | {
        "MOORAGE_BUCKET": names[f"{DATA}-BucketName"],
        "MOORAGE_REGISTRY_TABLE": names[f"{DATA}-RegistryTableName"],
        "MOORAGE_UPLOADS_TABLE": names[f"{DATA}-UploadsTableName"],
        "MOORAGE_ACCESS_TABLE": names[f"{DATA}-AccessTableName"],
        "MOORAGE_COMMIT_FUNCTION": "none-here",
        "MOORAGE_SERIAL_DYNAMODB": "1",
        "MOORAGE_SIGNING_KEY": KEY,
        "MOORAGE_URL": url,
    }
    with (
        running("app.app", paths, environment) as api,
        running("app.authorize", paths, environment) as authorizer,
    ):
        world = World(url, token, environment, api)

        def called(event: dict[str, Any], context: object) -> Any:  # noqa: ANN401 - as a function
            world.events.append(event)
            return api(event, context)

        front = packaged_front(host_package, authorizer, url)
        with run_gateway(called, GatewayOptions(port=port, threads=1), front):
            yield world


def packaged_front(package: Path, authorizer: Function, url: str) -> Front:
    """Return what the packaged template puts before the function."""
    template = yaml.safe_load((package / "sam.yaml").read_text(encoding="utf-8"))
    routes = template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]["paths"]
    guard = TokenAuthorizer(authorizer, 60)
    guarded = {
        (path, method.upper()): guard
        for path, methods in routes.items()
        for method in METHODS
        if "security" in methods.get(method, {})
    }
    resources = {
        path: frozenset(method.upper() for method in METHODS if method in methods)
        for path, methods in routes.items()
    }
    return Front(Resources(resources), guarded, read_answers(url))


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
    """The authorizer lets an access token in and refuses another, and a token is issued for it."""
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
    status, headers, _ = world.ask("POST", f"/v2/{name}/blobs/uploads/", Authorization=world.basic)
    assert status == 202
    location = headers["Location"].removeprefix(world.url)
    status, headers, body = world.ask(
        "PATCH",
        location,
        data,
        Authorization=world.basic,
        Content_Type="application/octet-stream",
    )
    assert status == 202, body
    location = headers["Location"].removeprefix(world.url)
    digest = str(Digest.of(data))
    mark = "&" if "?" in location else "?"
    status, headers, body = world.ask(
        "PUT", f"{location}{mark}digest={digest}", Authorization=world.basic
    )
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
