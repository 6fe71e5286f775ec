"""`moorage login`: proofs go to the registry that was named, tokens to the program, and no further.

The registry and the programs are doubles: what real programs make of it is for other tests.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import generate
from moorage.login import aws as aws_login
from moorage.login import tools as login_tools
from moorage.login.tools import TOOLS
from tests.moorage.login.doubles import ISSUED, PROOF, LoginRegistry, Tools

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.moorage_command import Command

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"


# where the proof comes from


def test_an_identity_token_in_a_file_is_exchanged(
    moorage: Command, registry: LoginRegistry, tmp_path: Path
) -> None:
    """Only the registry's token is on stdout."""
    (tmp_path / "proof").write_text(f"{PROOF}\n", encoding="ascii")
    result = moorage(f"login {registry.url} --print --oidc-token-file {tmp_path / 'proof'}")
    assert (result.status, result.out) == (0, f"{ISSUED}\n")
    assert "60 minutes" in result.err
    assert registry.forms == [
        {
            "grant_type": EXCHANGE,
            "subject_token": PROOF,
            "subject_token_type": ID_TOKEN,
            "service": registry.host,
        }
    ]


def test_an_identity_token_in_a_variable_is_exchanged(
    moorage: Command, registry: LoginRegistry
) -> None:
    """As in GitLab; a variable that is not set is an error."""
    assert moorage(f"login {registry.url} --print --oidc-env PROOF").out == f"{ISSUED}\n"
    assert registry.forms[0]["subject_token"] == PROOF
    result = moorage(f"login {registry.url} --print --oidc-env NOT_THERE")
    assert (result.status, result.out) == (1, "")
    assert "$NOT_THERE is not set: in GitLab, name it under `id_tokens`" in result.err


def test_an_identity_token_is_requested_from_github(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its audience is the registry, and the request has the job's token."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{registry.url}/identity?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    assert moorage(f"login {registry.url} --print --oidc").out == f"{ISSUED}\n"
    assert registry.identities == [(registry.host, "Bearer of-the-job")]
    assert registry.forms[0]["subject_token"] == f"identity.for.{registry.host}"


def test_outside_of_github_actions_oidc_is_an_error(
    moorage: Command, registry: LoginRegistry
) -> None:
    """The message says what is missing."""
    result = moorage(f"login {registry.url} --print --oidc")
    assert (result.status, result.out) == (1, "")
    assert "`permissions: id-token: write`" in result.err


def test_a_proof_from_aws_is_made_for_the_registry_and_exchanged(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its type says so."""
    monkeypatch.setattr(aws_login, "presigned_identity", lambda service: f"https://sts/{service}")
    assert moorage(f"login {registry.url} --print --aws").out == f"{ISSUED}\n"
    assert registry.forms[0]["subject_token"] == f"https://sts/{registry.host}"
    assert registry.forms[0]["subject_token_type"] == AWS_IDENTITY


def test_without_aws_credentials_aws_is_an_error(moorage: Command, registry: LoginRegistry) -> None:
    """The message says where they may come from."""
    result = moorage(f"login {registry.url} --print --aws")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("moorage login: no AWS credentials")
    assert result.err.count("\n") == 1


def test_an_api_token_is_passed_to_the_program(
    moorage: Command, registry: LoginRegistry, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the password: the program asks for its own bearer tokens with it."""
    token = generate()
    tools.add("docker")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    assert moorage(f"login {registry.url} --password-stdin").status == 0
    assert tools.given("docker") == (
        ["login", "--username", "moorage", "--password-stdin", registry.host],
        token,
    )
    assert registry.forms == []


def test_an_api_token_is_exchanged_for_print(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a password."""
    token = generate()
    monkeypatch.setattr("sys.stdin", io.StringIO(token))
    registry.answer["scope"] = "repository:a:pull"
    words = f"login {registry.url} --password-stdin --print --scope repository:a:pull"
    assert moorage(words).out == f"{ISSUED}\n"
    assert registry.forms == [
        {
            "grant_type": "password",
            "username": "moorage",
            "password": token,
            "service": registry.host,
            "scope": "repository:a:pull",
        }
    ]


@pytest.mark.parametrize("text", ["", "my-password", "a\nb", "é"])
def test_another_password_is_neither_sent_nor_shown(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """It may be that of something else."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    result = moorage(f"login {registry.url} --password-stdin --print")
    assert (result.status, result.out) == (1, "")
    assert registry.forms == []
    assert not text.strip() or text.strip() not in result.err


def test_scopes_are_joined_by_spaces(moorage: Command, registry: LoginRegistry) -> None:
    """As OAuth2 has it."""
    registry.answer["scope"] = "repository:a:pull"
    words = "--scope repository:a:pull --scope repository:b:pull,push"
    assert moorage(f"login {registry.url} --print --oidc-env PROOF {words}").status == 0
    assert registry.forms[0]["scope"] == "repository:a:pull repository:b:pull,push"


def test_a_token_without_a_granted_scope_is_an_error(
    moorage: Command, registry: LoginRegistry
) -> None:
    """A script must not go on with it."""
    words = "--print --oidc-env PROOF --scope repository:a:pull"
    result = moorage(f"login {registry.url} {words}")
    assert (result.status, result.out) == (1, "")
    assert "grants nothing" in result.err


@pytest.mark.parametrize(
    "words",
    [
        "",
        "--aws --oidc",
        "--aws --print --tool docker",
        "--aws --tool nerdctl",
        "--aws --scope repository:a:pull",
        "--oidc --password secret",
    ],
)
def test_wrong_usage_is_status_2(moorage: Command, registry: LoginRegistry, words: str) -> None:
    """No request is sent."""
    assert moorage(f"login {registry.url} {words}").status == 2
    assert registry.forms == []


# where the token goes


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_gets_the_token_by_stdin(
    moorage: Command, registry: LoginRegistry, tools: Tools, tool: str
) -> None:
    """The token is on no command line and in no output."""
    tools.add(tool)
    result = moorage(f"login {registry.url} --oidc-env PROOF --tool {tool}")
    given = tools.given(tool)
    assert result.status == 0
    assert given is not None
    words, stdin = given
    assert stdin == ISSUED
    assert ISSUED not in " ".join(words) + result.out + result.err
    assert [tool, *words] == login_tools.words(tool, registry.host, plain=True)


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("docker", "login --username moorage --password-stdin r.example.com"),
        ("podman", "login --username moorage --password-stdin r.example.com"),
        ("skopeo", "login --username moorage --password-stdin r.example.com"),
        ("buildah", "login --username moorage --password-stdin r.example.com"),
        ("crane", "auth login --username moorage --password-stdin r.example.com"),
        ("regctl", "registry login --user moorage --pass-stdin r.example.com"),
        ("oras", "login --username moorage --password-stdin r.example.com"),
        ("helm", "registry login --username moorage --password-stdin r.example.com"),
    ],
)
def test_the_login_command_of_each_tool(tool: str, words: str) -> None:
    """At a registry with TLS it has no option about TLS."""
    assert login_tools.words(tool, "r.example.com", plain=False) == [tool, *words.split()]


def test_without_tool_the_first_one_on_path_is_logged_in(
    moorage: Command, registry: LoginRegistry, tools: Tools
) -> None:
    """In the order of the help."""
    for tool in ("helm", "oras", "skopeo"):
        tools.add(tool)
    assert moorage(f"login {registry.url} --oidc-env PROOF").status == 0
    assert [tool for tool in TOOLS if tools.given(tool)] == ["skopeo"]


@pytest.mark.parametrize("words", ["", "--tool docker"])
def test_a_missing_tool_is_an_error_before_any_request(
    moorage: Command, registry: LoginRegistry, tools: Tools, words: str
) -> None:
    """No proof is sent."""
    del tools
    result = moorage(f"login {registry.url} --oidc-env PROOF {words}")
    assert (result.status, result.out) == (1, "")
    assert "on PATH" in result.err
    assert registry.forms == []


def test_a_tool_that_fails_is_an_error_with_its_status(
    moorage: Command, registry: LoginRegistry, tools: Tools
) -> None:
    """The token is not in it."""
    tools.add("podman", status=125)
    result = moorage(f"login {registry.url} --oidc-env PROOF")
    assert result.status == 1
    assert "`podman login" in result.err
    assert "status 125" in result.err
    assert ISSUED not in result.err
