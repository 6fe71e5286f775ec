"""A registry as the packaged template deploys it, on this machine, and fixtures to stand on it.

Each function runs the zip under AWS's runtime client, with the handler, the timeout and the
variables of the template, on the bucket and tables of the data stack's template. In front is the
gateway, with the template's routes and authorizers. Nothing here may give a function what a
deployment would not, except the address of AWS.
"""

from __future__ import annotations

import base64
import http.client
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.access.credentials import generate
from moorage.access import admin as access_admin
from moorage.access import signing_key
from moorage.common.project import DATA_TEMPLATE, load_template
from moorage.gateway import authorizer as gateway_authorizer
from moorage.gateway.authorizer import TokenAuthorizer
from moorage.gateway.faults import read_answers
from moorage.gateway.resources import Resources
from moorage.gateway.rest_api import RestApi
from moorage.gateway.server import GatewayOptions
from moorage.local import ports
from tests.emulators.backends import Backend, moto_backend
from tests.infra.intrinsics import Stack
from tests.infra.runtime import CLIENT, SDK, Function, invoking, lay_out, running
from tests.support.servers import request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.infra.runtime import Lambda

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client is Linux's")

STACK, DATA = "moorage-x", "moorage-x-data"
KEY = "/moorage/x/signing-key"
METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_FUNCTIONS = {"AWS::Lambda::Function", "AWS::Serverless::Function"}

Answer = tuple[int, http.client.HTTPMessage, bytes]


@pytest.fixture(scope="module")
def paths(task: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The unpacked zip, Lambda's SDK and its runtime client."""
    folder = tmp_path_factory.mktemp("lambda")
    lay_out(folder / "runtime", SDK)
    lay_out(folder / "client", CLIENT)
    return task, folder / "runtime", folder / "client"


@pytest.fixture(scope="module")
def cloud() -> Iterator[Backend]:
    """An S3 and DynamoDB of a module's own, for the data stack."""
    with moto_backend() as backend:
        yield backend


@dataclass
class World:
    """A registry behind the gateway."""

    url: str
    token: str
    template: dict[str, Any]
    environments: dict[str, dict[str, str]]
    functions: dict[str, Function]
    """By their names in the template."""
    invoked: Lambda
    """The functions' invocations of each other."""
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def api(self) -> Function:
        """The function that answers requests."""
        return self.functions["APIHandler"]

    @property
    def environment(self) -> dict[str, str]:
        """That function's environment."""
        return self.environments["APIHandler"]

    @property
    def basic(self) -> str:
        """The admin's Authorization header, as clients first send it."""
        return f"Basic {base64.b64encode(f'admin:{self.token}'.encode()).decode()}"

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a request."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(self.url, method, path, body or None, named)

    def start(self, name: str) -> str:
        """Open an upload as the admin, and return its location."""
        return self._accepted(
            self.ask("POST", f"/v2/{name}/blobs/uploads/", Authorization=self.basic)
        )

    def append(self, location: str, data: bytes) -> str:
        """Send a chunk, and return the upload's next location."""
        kind = "application/octet-stream"
        return self._accepted(
            self.ask("PATCH", location, data, Authorization=self.basic, Content_Type=kind)
        )

    def close(self, location: str, digest: str) -> Answer:
        """Send the PUT that ends an upload."""
        mark = "&" if "?" in location else "?"
        return self.ask("PUT", f"{location}{mark}digest={digest}", Authorization=self.basic)

    def _accepted(self, answer: Answer) -> str:
        status, headers, body = answer
        assert status == 202, body
        return headers["Location"].removeprefix(self.url)

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """Give the API's function this timeout until the block ends."""
        usual, self.api.seconds = self.api.seconds, seconds
        try:
            yield
        finally:
            self.api.seconds = usual


@pytest.fixture(scope="module")
def world(cloud: Backend, package: Path, paths: tuple[Path, ...]) -> Iterator[World]:
    """The data stack, a key, an admin, the template's functions and the gateway."""
    template = load_template(package / "sam.yaml")
    exports = data_stack(cloud)
    signing_key.ensure(cloud.client("ssm"), KEY)
    token = generate()
    store = access_admin.open_store(cloud.dynamodb(), exports[f"{DATA}-AccessTableName"])
    access_admin.create_admin(store, token, "a test", 0.0)
    port = ports.free_port()
    url = f"http://127.0.0.1:{port}"
    given = {"DataStack": DATA, "PublicUrl": url, "SigningKeyParameter": KEY}
    with ExitStack() as stack:
        invoked = stack.enter_context(invoking())
        here = where_aws_is(cloud, invoked)
        environments, functions = {}, {}
        for name, properties in packaged_functions(template).items():
            found = environments[name] = {**variables(template, name, given, exports), **here}
            function = stack.enter_context(running(properties["Handler"], paths, found))
            function.seconds = properties["Timeout"]
            functions[name] = invoked.functions[called(name)] = function
        world = World(url, token, template, environments, functions, invoked)

        def answering(event: dict[str, Any], context: object) -> Any:  # noqa: ANN401 - as a function
            world.events.append(event)
            return world.api(event, context)

        api = packaged_api(template, functions["Authorizer"], url)
        # The first request starts four processes, on a machine that may be busy.
        stack.enter_context(mock.patch.object(gateway_authorizer, "TIMEOUT_SECONDS", 60.0))
        options = GatewayOptions(port=port, threads=1, timeout_seconds=60, cors_origins=("*",))
        stack.enter_context(run_gateway(answering, options, api))
        yield world


def data_stack(cloud: Backend) -> dict[str, str]:
    """Create the data stack, and return its exports."""
    cloudformation = cloud.client("cloudformation")
    template = DATA_TEMPLATE.read_text(encoding="utf-8")
    cloudformation.create_stack(StackName=DATA, TemplateBody=template)
    return {each["Name"]: each["Value"] for each in cloudformation.list_exports()["Exports"]}


def where_aws_is(cloud: Backend, invoked: Lambda) -> dict[str, str]:
    """Return the variables that functions have here and not in a deployment."""
    aws = {name: v for name, v in cloud.environment.items() if not name.startswith("MOORAGE_")}
    return {**aws, "AWS_ENDPOINT_URL_LAMBDA": invoked.url}


def packaged_functions(template: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the properties of a template's functions, by their names in it."""
    resources = template["Resources"].items()
    return {name: each["Properties"] for name, each in resources if each["Type"] in _FUNCTIONS}


def called(function: str) -> str:
    """Return the name of a function of the stack, as its Ref gives it."""
    return f"{STACK}-{function}-1A2B3C"


def variables(
    template: Mapping[str, Any], function: str, given: Mapping[str, str], exports: Mapping[str, str]
) -> dict[str, str]:
    """Return a function's environment by the template; `given` are parameters."""
    parameters = {name: str(each["Default"]) for name, each in template["Parameters"].items()}
    functions = packaged_functions(template)
    references = {"AWS::StackName": STACK, **{name: called(name) for name in functions}}
    stack = Stack({**parameters, **given, **references}, exports)
    wanted = functions[function]["Environment"]["Variables"]
    return {name: str(stack.resolved(value)) for name, value in wanted.items()}


def packaged_api(template: Mapping[str, Any], authorizer: Function, url: str) -> RestApi:
    """Return the packaged template's routes, authorizers and answers."""
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
    return RestApi(Resources(resources), guarded, read_answers(url))
