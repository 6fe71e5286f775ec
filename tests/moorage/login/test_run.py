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
from tests.moorage.login.doubles import ISSUED, LoginRegistry, Tools, run_login_registry
from tests.support.moorage_command import Command, forget_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"
PROOF = "proof.of.somebody"


@pytest.fixture(scope="module")
def running() -> Iterator[LoginRegistry]:
    """One registry for all tests of this module."""
    with run_login_registry() as registry:
        yield registry


@pytest.fixture
def registry(running: LoginRegistry) -> LoginRegistry:
    """A registry that answers as one does, and has seen nobody."""
    running.__dict__.update({**LoginRegistry().__dict__, "url": running.url})
    return running


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """A PATH with nothing on it yet."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return Tools(folder)


@pytest.fixture
def moorage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command, with a proof in the variable PROOF."""
    forget_settings(monkeypatch, tmp_path)
    monkeypatch.setenv("PROOF", PROOF)
    return Command(capsys)


# where the proof comes from


def test_an_identity_token_of_a_file(
    moorage: Command, registry: LoginRegistry, tmp_path: Path
) -> None:
    """The file's token is exchanged, and the registry's alone is on stdout."""
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


def test_an_identity_token_of_a_variable(moorage: Command, registry: LoginRegistry) -> None:
    """GitLab puts it into a variable that the job names."""
    assert moorage(f"login {registry.url} --print --oidc-env PROOF").out == f"{ISSUED}\n"
    assert registry.forms[0]["subject_token"] == PROOF
    result = moorage(f"login {registry.url} --print --oidc-env NOT_THERE")
    assert (result.status, result.out) == (1, "")
    assert "$NOT_THERE is not set: in GitLab, name it under `id_tokens`" in result.err


def test_an_identity_token_of_github(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitHub is asked for one whose audience is the registry, as its job."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{registry.url}/identity?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    assert moorage(f"login {registry.url} --print --oidc").out == f"{ISSUED}\n"
    assert registry.identities == [(registry.host, "Bearer of-the-job")]
    assert registry.forms[0]["subject_token"] == f"identity.for.{registry.host}"


def test_no_job_of_github(moorage: Command, registry: LoginRegistry) -> None:
    """Elsewhere, or without the permission, it is said what is missing."""
    result = moorage(f"login {registry.url} --print --oidc")
    assert (result.status, result.out) == (1, "")
    assert "`permissions: id-token: write`" in result.err


def test_a_proof_of_aws(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof is made for the name of the registry."""
    monkeypatch.setattr(aws_login, "presigned_identity", lambda service: f"https://sts/{service}")
    assert moorage(f"login {registry.url} --print --aws").out == f"{ISSUED}\n"
    assert registry.forms[0]["subject_token"] == f"https://sts/{registry.host}"
    assert registry.forms[0]["subject_token_type"] == AWS_IDENTITY


def test_nobody_on_aws(moorage: Command, registry: LoginRegistry) -> None:
    """Without AWS credentials it is said where they may come from."""
    result = moorage(f"login {registry.url} --print --aws")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("moorage login: no AWS credentials")
    assert result.err.count("\n") == 1


def test_an_access_token_is_handed_on(
    moorage: Command, registry: LoginRegistry, tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the password itself; the program asks for its own tokens with it."""
    token = generate()
    tools.add("docker")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{token}\n"))
    assert moorage(f"login {registry.url} --password-stdin").status == 0
    assert tools.given("docker") == (
        ["login", "--username", "moorage", "--password-stdin", registry.host],
        token,
    )
    assert registry.forms == []


def test_an_access_token_for_a_printed_one(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --print it is exchanged, as a password."""
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
def test_what_is_no_access_token_is_sent_nowhere(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Somebody's other password is neither sent nor shown."""
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    result = moorage(f"login {registry.url} --password-stdin --print")
    assert (result.status, result.out) == (1, "")
    assert registry.forms == []
    assert not text.strip() or text.strip() not in result.err


def test_scopes_are_one_text(moorage: Command, registry: LoginRegistry) -> None:
    """Several scopes are sent with spaces between them, as OAuth2 has it."""
    registry.answer["scope"] = "repository:a:pull"
    words = "--scope repository:a:pull --scope repository:b:pull,push"
    assert moorage(f"login {registry.url} --print --oidc-env PROOF {words}").status == 0
    assert registry.forms[0]["scope"] == "repository:a:pull repository:b:pull,push"


def test_a_token_for_nothing_is_an_error(moorage: Command, registry: LoginRegistry) -> None:
    """Nothing of the scopes was granted: a script must not go on with it."""
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
def test_a_wrong_word_is_status_2(moorage: Command, registry: LoginRegistry, words: str) -> None:
    """Words that don't go together are refused before anybody is asked anything."""
    assert moorage(f"login {registry.url} {words}").status == 2
    assert registry.forms == []


# where the token goes


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_gets_the_token_by_stdin(
    moorage: Command, registry: LoginRegistry, tools: Tools, tool: str
) -> None:
    """The token is on no command line and in no output, only in the program's stdin."""
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
def test_the_words_of_each_tool(tool: str, words: str) -> None:
    """With TLS, nothing is said of TLS."""
    assert login_tools.words(tool, "r.example.com", plain=False) == [tool, *words.split()]


def test_the_first_tool_on_the_path_is_taken(
    moorage: Command, registry: LoginRegistry, tools: Tools
) -> None:
    """Without --tool it is the first of those that are there, in the order of the help."""
    for tool in ("helm", "oras", "skopeo"):
        tools.add(tool)
    assert moorage(f"login {registry.url} --oidc-env PROOF").status == 0
    assert [tool for tool in TOOLS if tools.given(tool)] == ["skopeo"]


@pytest.mark.parametrize("words", ["", "--tool docker"])
def test_a_tool_that_is_not_there(
    moorage: Command, registry: LoginRegistry, tools: Tools, words: str
) -> None:
    """It is found out before a proof is given away."""
    del tools
    result = moorage(f"login {registry.url} --oidc-env PROOF {words}")
    assert (result.status, result.out) == (1, "")
    assert "on PATH" in result.err
    assert registry.forms == []


def test_a_tool_that_fails(moorage: Command, registry: LoginRegistry, tools: Tools) -> None:
    """Its status is told, and the token is not."""
    tools.add("podman", status=125)
    result = moorage(f"login {registry.url} --oidc-env PROOF")
    assert result.status == 1
    assert "`podman login" in result.err
    assert "status 125" in result.err
    assert ISSUED not in result.err
