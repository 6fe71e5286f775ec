"""Attacks from outside: names that are none, forged tokens, and secrets in logs.

The functions are called as Lambda calls them, in a process of their own, over S3, DynamoDB and SSM.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from bench.coldstart import ADMIN, asked_for, event, logging_in
from bench.coldstart import deployed as environment_of
from chalicelib.access.credentials import generate
from chalicelib.access.scopes import parse_scopes
from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.access.tokens import Tokens
from tests.chalicelib.api.test_authorization_matrix import DIGEST, World
from tests.support.access import SERVICE, URL, basic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.emulators.backends import Backend

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


@dataclass
class DeployedFunctions:
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
        return self.call("authorize", {**asked_for(""), "authorizationToken": header})

    def ask(self, sent: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Send the API an event; return the status and the JSON of its answer."""
        answer = self.call("app", sent)
        return answer["statusCode"], json.loads(base64.b64decode(answer["body"]))

    def log_in(self, header: str) -> tuple[int, dict[str, Any]]:
        """Ask the token endpoint for tokens with a password."""
        query = {"scope": ["registry:catalog:*"], "offline_token": ["true"]}
        many = {"multiValueHeaders": {"Authorization": [header]}}
        return self.ask(logging_in("") | many | {"multiValueQueryStringParameters": query})

    def logged(self) -> str:
        """End it and return all that it has logged."""
        self.process.communicate(timeout=30)
        return self.log.read_text(encoding="utf-8")


@pytest.fixture
def deployed(strict_moto: Backend, tmp_path: Path) -> Iterator[DeployedFunctions]:
    """Make a signing key and an admin, and load app.py with a deployment's environment."""
    backend, admin, log = strict_moto.fresh(), generate(), tmp_path / "log"
    environment = environment_of(backend, admin) | {"POWERTOOLS_LOG_LEVEL": "DEBUG"}
    parameter = backend.client("ssm").get_parameter(
        Name=environment["MOORAGE_SIGNING_KEY"], WithDecryption=True
    )
    keys = SigningKeySet.parse(parameter["Parameter"]["Value"])
    with log.open("w") as file:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": file,
        }
        program, variables = [sys.executable, "-c", _PROGRAM], {**os.environ, **environment}
        process = subprocess.Popen(program, env=variables, text=True, **pipes)
    try:
        yield DeployedFunctions(process, log, keys, admin)
    finally:
        process.kill()
        process.communicate()


def forged(deployed: DeployedFunctions, token: str) -> list[str]:
    """Return Bearer headers that only a wrongly built verifier accepts: see test_tokens."""
    tokens, subject = Tokens(deployed.keys, URL, SERVICE), f"credential:{ADMIN}"
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    wrong: list[dict[str, Any]] = [
        {"keys": SigningKeySet(SigningKey.generate())},
        {"issuer": "https://evil.example"},
        {"service": "evil.example"},
    ]
    claims: dict[str, Any] = {"jti": "t", "source": ADMIN, "version": 1}
    texts = [
        f"{token}x",
        f"{none}.{token.split('.')[1]}.",
        *(replace(tokens, **other).issue(subject, (), time.time(), **claims) for other in wrong),
    ]
    return [f"Bearer {text}" for text in texts]


def test_forged_tokens_are_refused_and_no_secret_is_logged(deployed: DeployedFunctions) -> None:
    """Forged tokens are refused, and no secret is in the log at any level."""
    admin = basic("me", deployed.admin)
    identified = deployed.identify(admin)
    assert identified["principalId"] == f"credential:{ADMIN}"
    (statement,) = identified["policyDocument"]["Statement"]
    assert statement["Effect"] == "Allow"
    status, issued = deployed.log_in(admin)
    assert status == 200
    form = f"grant_type=password&username=me&password={deployed.admin}&access_type=offline"
    content_type = {"multiValueHeaders": {"Content-Type": ["application/x-www-form-urlencoded"]}}
    post = logging_in("") | content_type | {"body": form}
    post["requestContext"]["httpMethod"] = "POST"
    _, posted = deployed.ask(post)
    assert posted["scope"] == "registry:catalog:*"
    by_token = deployed.identify(f"Bearer {issued['token']}")
    asked = event("GET", "_catalog")
    for context, expected in (
        ({"principalId": by_token["principalId"], **by_token["context"]}, 200),
        ({}, 401),
    ):
        asked["requestContext"]["authorizer"] = context
        status, catalog = deployed.ask(asked)
        assert (status, catalog.get("repositories")) == (expected, [] if expected == 200 else None)
    wrong = "moor_" + "x" * 49
    for header in (basic("me", wrong), f"Digest {wrong}", *forged(deployed, issued["token"])):
        assert deployed.identify(header) == {"raised": "Unauthorized"}
    assert deployed.log_in(basic("me", wrong))[0] == 401
    log = deployed.logged()
    secrets = {
        "the API token": deployed.admin,
        "its Basic form": admin.removeprefix("Basic "),
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


def test_scopes_are_no_wider_than_the_grants() -> None:
    """A token with more scopes than its login's grants lets it do no more."""
    world = World()
    everything = parse_scopes(["repository:other/app:pull,push,delete registry:catalog:*"])
    principal = world.access.authenticator.identify(world.header("reader", "basic", "team/app"))
    assert principal is not None
    token = world.access.token_issuer.issue(principal, everything, world.memory.clock.now())
    blob = f"other/app/blobs/{DIGEST}"
    for method, target in (("GET", blob), ("POST", "other/app/blobs/uploads"), ("DELETE", blob)):
        assert world.ask(method, target, f"Bearer {token}").status == 403


# fmt: off
TRICKS = [
    "team/../other/app", "team/%2e%2e/other/app", "team%2f..%2fother/app", "team%2Fapp",
    "team//other/app", "team/app%00/../../other/app", "team/app%00", "./other/app", "TEAM/app",
    "team/app%20", "team/app?", "team/" + "a" * 300, "team/*", "**", "team/%C0%AE%C0%AE/other/app",
]
# fmt: on


@pytest.mark.parametrize("name", TRICKS, ids=range(len(TRICKS)))
@pytest.mark.parametrize("tail", [f"blobs/{DIGEST}", "tags/list", "manifests/v1"])
def test_an_invalid_name_reaches_no_repository(name: str, tail: str) -> None:
    """It is refused, for an admin too, and never read as another name."""
    world = World()
    for login in ("reader", "admin"):
        answer = world.ask("GET", f"{name}/{tail}", world.header(login, "basic", "team/app"))
        assert answer.status in {400, 403, 404}
        assert answer.status != 404 or b"NAME_INVALID" not in answer.body


def test_a_token_is_for_exactly_its_repository() -> None:
    """It is not for one with a longer, shorter or similar name."""
    world = World()
    header = world.header("admin", "token", "team/app")
    for name in ("team/app2", "team/ap", "team", "team/app/sub", "team/app-x", "eam/app"):
        assert world.ask("GET", f"{name}/tags/list", header).status == 401
