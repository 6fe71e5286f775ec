"""What an attacker tries from outside: names that are none, tokens that are none, logs that tell.

The functions are called as Lambda calls them, in a process of their own, over S3, DynamoDB and SSM.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import generate
from chalicelib.access.scopes import parse_scopes
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.tokens import Tokens, TokenUse
from chalicelib.stores.dynamodb.access import DynamoAccessStore
from moorage.access.setup import create_admin, ensure_signing_key
from tests.chalicelib.api.test_authorization_matrix import DIGEST, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.emulators.backends import Backend

URL, SERVICE = "https://registry.example.com", "registry.example.com"
ARN = "arn:aws:execute-api:us-east-1:000000000000:local/v2/GET/team/app/tags/list"
ADMIN = "00000000-0000-4000-8000-000000000000"

# Reads lines of JSON, each the name of a function and its event; answers each by a line.
_PROGRAM = """
import json, logging, sys
answers, sys.stdout = sys.stdout, sys.stderr
logging.basicConfig(level=logging.DEBUG)
import app
for line in sys.stdin:
    name, event = json.loads(line)
    try:
        answer = getattr(app, name)(event, None)
    except Exception as error:
        answer = {"raised": str(error)}
    print(json.dumps(answer), file=answers, flush=True)
"""


_AS_IN_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "moorage-api", "POWERTOOLS_LOG_LEVEL": "DEBUG"}


@dataclass
class Deployed:
    """The functions of a deployment, and what its owner has."""

    process: subprocess.Popen[str]
    log: Path
    keys: SigningKeySet
    admin: str

    def call(self, function: str, event: dict[str, Any]) -> dict[str, Any]:
        """Call one of the functions of app.py."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([function, event]) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def identify(self, header: str) -> dict[str, Any]:
        """Ask the authorizer about an Authorization header."""
        event = {"type": "TOKEN", "authorizationToken": header, "methodArn": ARN}
        return self.call("authorize", event)

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        **event: Any,  # noqa: ANN401 - any field of an event
    ) -> dict[str, Any]:
        """Send the API a proxy event."""
        resource = "/_token" if path == "_token" else "/{proxy+}"
        identity = {"sourceIp": "198.51.100.7"}
        context = {
            "resourcePath": resource,
            "httpMethod": method,
            "requestId": "r",
            "identity": identity,
            "authorizer": event.pop("authorizer", None),
        }
        return self.call(
            "app",
            {
                "httpMethod": method,
                "resource": resource,
                "path": f"/{path}",
                "headers": headers or {},
                "multiValueHeaders": {name: [value] for name, value in (headers or {}).items()},
                "multiValueQueryStringParameters": event.pop("query", None),
                "pathParameters": None if resource == "/_token" else {"proxy": path},
                "requestContext": context,
                "body": None,
                "isBase64Encoded": False,
                "stageVariables": None,
                **event,
            },
        )

    def tokens(self, **changes: Any) -> Tokens:  # noqa: ANN401 - any field
        """Return a mint like the registry's own, with changes."""
        return Tokens(**{"keys": self.keys, "issuer": URL, "service": SERVICE, **changes})

    def logged(self) -> str:
        """End it and return all that it has logged."""
        self.process.communicate(timeout=30)
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def deployed(strict_moto: Backend, tmp_path: Path) -> Iterator[Deployed]:
    """Make a signing key and an admin, and load app.py with a deployment's environment."""
    backend = strict_moto.fresh()
    key = f"/moorage/{uuid.uuid4().hex}"
    table = backend.environment["MOORAGE_ACCESS_TABLE"]
    ssm = backend.client("ssm")
    assert ensure_signing_key(ssm, key)
    keys = SigningKeySet.parse(
        ssm.get_parameter(Name=key, WithDecryption=True)["Parameter"]["Value"]
    )
    admin, store = generate(), DynamoAccessStore(backend.dynamodb(), table)
    create_admin(store, admin, "admin", "a test", time.time(), ADMIN)
    access = {"MOORAGE_AUTH": "on", "MOORAGE_URL": URL, "MOORAGE_SIGNING_KEY": key}
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, **backend.environment, **access, **_AS_IN_LAMBDA},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    try:
        yield Deployed(process, log, keys, admin)
    finally:
        process.kill()
        process.communicate()


def basic(password: str) -> str:
    """Return a Basic header."""
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


def body_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer's JSON."""
    told: dict[str, Any] = json.loads(base64.b64decode(answer["body"]))
    return told


def test_the_functions_of_a_deployment(deployed: Deployed) -> None:
    """A login, a token, a request by it; and no secret of any of them in the log, at any level."""
    told = deployed.identify(basic(deployed.admin))
    assert told["principalId"] == f"credential:{ADMIN}"
    (statement,) = told["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    logged_in = deployed.ask(
        "GET",
        "_token",
        {"Authorization": basic(deployed.admin)},
        query={"scope": ["registry:catalog:*"], "offline_token": ["true"]},
    )
    assert logged_in["statusCode"] == 200
    issued = body_of(logged_in)
    form = f"grant_type=password&username=me&password={deployed.admin}&access_type=offline"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    posted = body_of(deployed.ask("POST", "_token", headers, body=form))
    assert posted["scope"] == "registry:catalog:*"
    by_token = deployed.identify(f"Bearer {issued['token']}")
    context = {"principalId": by_token["principalId"], **by_token["context"]}
    catalog = deployed.ask("GET", "_catalog", authorizer=context)
    assert (catalog["statusCode"], body_of(catalog)) == (200, {"repositories": []})
    refused = deployed.ask("GET", "_catalog", authorizer={})
    assert refused["statusCode"] == 401
    wrong = "moor_" + "x" * 49
    for header in (basic(wrong), f"Bearer {issued['token']}x", f"Digest {wrong}"):
        assert deployed.identify(header) == {"raised": "Unauthorized"}
    assert deployed.ask("GET", "_token", {"Authorization": basic(wrong)})["statusCode"] == 401
    log = deployed.logged()
    secrets = {
        "the access token": deployed.admin,
        "its Basic form": basic(deployed.admin).removeprefix("Basic "),
        "a token": issued["token"],
        "a token's signature": issued["token"].rpartition(".")[2],
        "a refresh token": issued["refresh_token"],
        "another token": posted["access_token"],
        "a wrong password": wrong,
        "the signing key": deployed.keys.signing.text(),
    }
    assert {name for name, secret in secrets.items() if secret in log} == set()
    # The log is one that could have told: it has the refusals, and the requests.
    assert "not let in" in log
    assert "login refused" in log
    assert '"path":"_token"' in log.replace(" ", "")


def test_a_forged_token_opens_nothing(deployed: Deployed) -> None:
    """Another key, issuer, service, use or time: the authorizer knows none of them."""
    subject, scopes, now = f"credential:{ADMIN}", parse_scopes(["registry:catalog:*"]), time.time()
    how: dict[str, Any] = {"jti": "t", "source": ADMIN, "version": 1}
    good = deployed.tokens().issue(subject, scopes, now, **how)
    head, payload, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    ours = deployed.tokens()
    forged = {
        "another key": deployed.tokens(keys=SigningKeySet(SigningKey.generate())).issue(
            subject, scopes, now, **how
        ),
        "another issuer": deployed.tokens(issuer="https://evil.example").issue(
            subject, scopes, now, **how
        ),
        "another service": deployed.tokens(service="evil.example").issue(
            subject, scopes, now, **how
        ),
        "expired": ours.issue(subject, scopes, now - 3601, **how),
        "not yet": ours.issue(subject, scopes, now + 3600, **how),
        "a refresh token": ours.issue(subject, scopes, now, use=TokenUse.REFRESH, **how),
        "a login token": ours.issue(subject, scopes, now, use=TokenUse.LOGIN, **how),
        "another secret": ours.issue(subject, scopes, now, **{**how, "version": 2}),
        "nobody's": ours.issue("credential:x", scopes, now, **{**how, "source": "x"}),
        "no algorithm": f"{none}.{payload}.",
        "no signature": f"{head}.{payload}.",
        "a changed payload": f"{head}.{payload[:-4]}AAAA.{signature}",
    }
    assert deployed.identify(f"Bearer {good}")["principalId"] == subject
    answers = {name: deployed.identify(f"Bearer {token}") for name, token in forged.items()}
    assert answers == {name: {"raised": "Unauthorized"} for name in forged}


def test_scopes_are_no_wider_than_the_grants() -> None:
    """A token that says more than its login may do lets it do no more."""
    world = World()
    everything = parse_scopes(["repository:other/app:pull,push,delete registry:catalog:*"])
    record = world.access.store.get("id-of-reader")
    assert record is not None
    principal = world.access.authenticator.identify(world.header("reader", "basic", "team/app"))
    assert principal is not None
    token = world.access.token_issuer.issue(principal, everything, world.memory.clock.now())
    for method, target in (
        ("GET", f"other/app/blobs/{DIGEST}"),
        ("POST", "other/app/blobs/uploads"),
        ("DELETE", f"other/app/blobs/{DIGEST}"),
    ):
        assert world.ask(method, target, f"Bearer {token}").status == 403


TRICKS = [
    "team/../other/app",
    "team/%2e%2e/other/app",
    "team%2f..%2fother/app",
    "team%2Fapp",
    "team//other/app",
    "team/app%00/../../other/app",
    "team/app%00",
    "./other/app",
    "TEAM/app",
    "team/app%20",
    "team/app?",
    "team/" + "a" * 300,
    "team/*",
    "**",
    "team/%C0%AE%C0%AE/other/app",
]


@pytest.mark.parametrize("name", TRICKS, ids=range(len(TRICKS)))
@pytest.mark.parametrize("tail", [f"blobs/{DIGEST}", "tags/list", "manifests/v1"])
def test_a_name_that_is_none_reaches_no_other_repository(name: str, tail: str) -> None:
    """A name outside the grammar is refused as it is, whoever asks, and never read as another."""
    world = World()
    for login in ("reader", "admin"):
        answer = world.ask("GET", f"{name}/{tail}", world.header(login, "basic", "team/app"))
        assert answer.status in {400, 403, 404}
        assert answer.status != 404 or b"NAME_INVALID" not in answer.body


def test_a_token_is_for_the_very_name() -> None:
    """A token for one name is good for no longer, shorter or similar one."""
    world = World()
    header = world.header("admin", "token", "team/app")
    for name in ("team/app2", "team/ap", "team", "team/app/sub", "team/app-x", "eam/app"):
        assert world.ask("GET", f"{name}/tags/list", header).status == 401
