"""`moorage login`: proofs go to the registry that was named, tokens to the program, and no further.

Nothing goes to other machines in the clear, to other registries, or where a redirect leads.
The registry and the programs are doubles: what real programs make of it is for other tests.
"""

from __future__ import annotations

import email.message
import io
from typing import TYPE_CHECKING
from unittest import mock
from urllib.parse import urlsplit

import pytest

from chalicelib.access.credentials import generate
from moorage.common.http import AddressError, HttpResponse, host_of
from moorage.login import aws as aws_login
from moorage.login import run as login
from moorage.login import tools as login_tools
from moorage.login.http import require_safe
from moorage.login.tools import TOOLS
from tests.moorage.login.doubles import ISSUED, PROOF, LoginRegistry, Tools, run_login_registry

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.moorage_command import Command, CommandResult

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"
LONG = "x" * 60


def check_refused(result: CommandResult, told: str) -> None:
    """Fail unless the command ended with an error that says this, and printed no token."""
    assert (result.status, result.out) == (1, "")
    assert told in result.err


# where the proof comes from


@pytest.mark.parametrize("words", ["--oidc-token-file PATH", "--oidc-env PROOF"])
def test_an_identity_token_in_a_file_or_a_variable_is_exchanged(
    moorage: Command, registry: LoginRegistry, tmp_path: Path, words: str
) -> None:
    """Only the registry's token is on stdout."""
    (tmp_path / "proof").write_text(f"{PROOF}\n", encoding="ascii")
    place = words.replace("PATH", f"{tmp_path / 'proof'}")
    result = moorage(f"login {registry.url} --print {place}")
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


def test_an_identity_token_is_requested_from_github(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its audience is the registry, and the request has the job's token."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{registry.url}/identity?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    assert moorage(f"login {registry.url} --print --oidc").out == f"{ISSUED}\n"
    assert registry.identities == [(registry.host, "Bearer of-the-job")]
    assert registry.forms[0]["subject_token"] == f"identity.for.{registry.host}"


def test_a_proof_from_aws_is_made_for_the_registry_and_exchanged(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its type says so."""
    monkeypatch.setattr(aws_login, "presigned_identity", lambda service: f"https://sts/{service}")
    assert moorage(f"login {registry.url} --print --aws").out == f"{ISSUED}\n"
    assert registry.forms[0]["subject_token"] == f"https://sts/{registry.host}"
    assert registry.forms[0]["subject_token_type"] == AWS_IDENTITY


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--oidc-env NOT_THERE", "$NOT_THERE is not set: in GitLab, name it under `id_tokens`"),
        ("--oidc", "`permissions: id-token: write`"),
        ("--aws", "moorage login: no AWS credentials"),
        # A script must not go on with a token that grants nothing.
        ("--oidc-env PROOF --scope repository:a:pull", "grants nothing"),
    ],
)
def test_without_a_proof_or_a_granted_scope_it_is_an_error(
    moorage: Command, registry: LoginRegistry, words: str, told: str
) -> None:
    """The message says in one line what is missing and where it may come from."""
    result = moorage(f"login {registry.url} --print {words}")
    check_refused(result, told)
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


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("words", ["", "--tool docker"])
def test_a_missing_tool_is_an_error_before_any_request(
    moorage: Command, registry: LoginRegistry, words: str
) -> None:
    """No proof is sent."""
    check_refused(moorage(f"login {registry.url} --oidc-env PROOF {words}"), "on PATH")
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


def at_home(registry: LoginRegistry, text: str) -> str:
    """Fill a registry's URL into a text."""
    return text.replace("URL", registry.url)


# finding the token endpoint


@pytest.mark.parametrize(
    ("ping", "challenge", "told"),
    [
        (200, "", "is open: it lets everybody in"),
        (404, "", "answers with status 404"),
        (302, "", "answers with status 302"),
        (503, "", "answers with status 503"),
        (401, 'Basic realm="URL"', "asks for a login, but for no token"),
        (401, 'Bearer realm="URL/v2/_token"', "asks for a login, but for no token"),
        (401, 'Bearer service="x"', "asks for a login, but for no token"),
        (401, 'Bearer realm="http://r.example.com/t",service="x"', "has no TLS"),
        (401, 'Bearer realm="/v2/_token",service="x"', "no address of a registry"),
        (401, 'Bearer realm="file:///etc/passwd",service="x"', "no address of a registry"),
        (401, 'Bearer realm="https://a:b@r.example.com/t",service="x"', "no address of a"),
    ],
)
def test_a_registry_without_a_token_endpoint_is_an_error(
    moorage: Command, registry: LoginRegistry, ping: int, challenge: str, told: str
) -> None:
    """The message says what is there instead; no proof is sent."""
    registry.ping, registry.challenge = ping, at_home(registry, challenge)
    registry.headers = {"Location": f"{registry.url}/elsewhere"} if ping == 302 else {}
    check_refused(moorage(f"login {registry.url} --print --oidc-env PROOF"), told)
    assert registry.forms == []


@pytest.mark.parametrize(
    "challenge",
    [
        'bearer  Realm="URL/v2/_token" , SERVICE="HOST"',
        'Bearer service=HOST, realm="URL/v2/_token", scope="repository:a:pull,push"',
        r'Bearer error="a \"b\", realm=c",realm="URL/v2/_tok\en",service="HOST"',
    ],
)
def test_challenges_are_read_as_http_has_them(
    moorage: Command, registry: LoginRegistry, challenge: str
) -> None:
    """Names in any case, spaces, quoted commas and escapes make no difference."""
    registry.challenge = at_home(registry, challenge).replace("HOST", registry.host)
    assert moorage(f"login {registry.url} --print --oidc-env PROOF").out == f"{ISSUED}\n"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://r.example.com", "has no TLS"),
        ("ftp://r.example.com", "no address of a registry"),
        ("https://", "no address of a registry"),
        ("https://me:secret@r.example.com", "no address of a registry"),
        ("https://r.example.com:port", "no address of a registry"),
        ("https://r.example.com/stage", "write https://r.example.com"),
        ("r.example.com/v2/", "write https://r.example.com"),
        ("https://r.example.com?x=y", "write https://r.example.com"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1 does not answer"),
    ],
)
def test_an_address_that_is_no_registrys_or_has_no_tls_is_an_error(
    moorage: Command, address: str, told: str
) -> None:
    """A password in it is not shown."""
    result = moorage(f"login {address} --print --oidc-env PROOF")
    check_refused(result, told)
    assert "secret" not in result.err


def test_an_address_needs_no_scheme(moorage: Command, registry: LoginRegistry) -> None:
    """Without one, a host on this machine has no TLS, as client programs have it."""
    assert moorage(f"login {registry.host} --print --oidc-env PROOF").out == f"{ISSUED}\n"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://R.Example.com", "r.example.com"),
        ("https://r.example.com:443/", "r.example.com"),
        ("https://r.example.com:8443", "r.example.com:8443"),
        ("http://localhost:80", "localhost"),
        ("http://127.0.0.1:5000", "127.0.0.1:5000"),
        ("http://[::1]:5000", "[::1]:5000"),
    ],
)
def test_a_host_has_its_port_unless_it_is_the_schemes(url: str, host: str) -> None:
    """In lower case."""
    assert host_of(require_safe(url)) == host


# who gets a proof


REMOTE = "https://r.example.com/t"


@pytest.mark.parametrize(
    ("words", "realm", "service", "told"),
    [
        # A registry that names another service would get a proof that is good there.
        *[
            (words, REMOTE, service, f"calls itself {service!r}")
            for words in ("--oidc", "--aws")
            for service in ("sts.amazonaws.com", "other.example.com", "127.0.0.1:8000")
        ],
        # Nor does a token or a proof go to a realm that is not the registry's own.
        *[
            (words, f"https://{realm}/v2/_token", "r.example.com", f"sends its logins to {realm}")
            for words in ("--oidc-env PROOF", "--password-stdin", "--aws")
            for realm in (
                "127.0.0.1:8000",
                "other.example.com",
                "r.example.com:8443",
                "r.example.com.other.example.com",
                "[::1]",
            )
        ],
    ],
)
def test_nothing_is_sent_for_another_service_or_to_another_realm(  # noqa: PLR0913 - a table's columns
    moorage: Command,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    realm: str,
    service: str,
    told: str,
) -> None:
    """The registry gets one request, which it answers with its challenge."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://identity.example.com/")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    headers = email.message.Message()
    headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="{service}"'
    call = mock.Mock(return_value=HttpResponse(401, headers, b""))
    monkeypatch.setattr(login, "call", call)
    check_refused(moorage(f"login r.example.com --print {words}"), told)
    assert [each.args[0] for each in call.call_args_list] == ["https://r.example.com/v2/"]


def test_a_service_of_this_machine_or_that_is_named_gets_a_proof(
    moorage: Command, registry: LoginRegistry
) -> None:
    """A local registry may be behind its proxy; --service names the host of another one."""
    registry.service = "r.example.com"
    words = f"login {registry.url} --print --oidc"
    assert "--service" in moorage(words).err
    assert "`permissions: id-token: write`" in moorage(f"{words} --service r.example.com").err
    assert "calls itself" in moorage(f"{words} --service s.example.com").err
    registry.service = "["
    assert "calls itself '['" in moorage(words).err
    registry.service = "127.0.0.1:8000"
    assert "calls itself" not in moorage(words).err


@pytest.mark.parametrize(
    ("named", "realm"),
    [
        ("", "http://127.0.0.1:8000/v2/_token"),  # a local registry behind its proxy
        ("--service r.example.com", "https://r.example.com/v2/_token"),
        ("--service r.example.com:8443", "https://R.example.com:8443/v2/_token"),
    ],
)
def test_a_token_goes_to_a_realm_of_this_machine_or_that_is_named(
    moorage: Command, monkeypatch: pytest.MonkeyPatch, named: str, realm: str
) -> None:
    """Behind the push proxy, a registry's own host is the one that --service names."""
    headers = email.message.Message()
    headers["WWW-Authenticate"] = f'Bearer realm="{realm}",service="r.example.com"'
    call = mock.Mock(return_value=HttpResponse(401, headers, b""))
    monkeypatch.setattr(login, "call", call)
    moorage(f"login 127.0.0.1:5000 --print --oidc-env PROOF {named}")
    assert [each.args[0] for each in call.call_args_list] == ["http://127.0.0.1:5000/v2/", realm]


def test_a_redirect_is_not_followed(moorage: Command, registry: LoginRegistry) -> None:
    """The proof goes only to the realm."""
    with run_login_registry() as other:
        registry.status, registry.headers = 307, {"Location": f"{other.url}/v2/_token"}
        check_refused(moorage(f"login {registry.url} --print --oidc-env PROOF"), "status 307")
        assert other.forms == []


def test_a_proxy_is_not_used_for_this_machine(
    moorage: Command, registry: LoginRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to this machine in the clear must not leave it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert moorage(f"login {registry.url} --print --oidc-env PROOF").out == f"{ISSUED}\n"


# what the token endpoint answers


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (401, {"errors": [{"code": "UNAUTHORIZED", "message": "m"}]}, "ask its owner for a trust"),
        (429, {}, "wait 7 seconds"),
        (400, {"errors": [{"message": "no such\ngrant"}]}, "gave no token: status 400: no such"),
        (400, {"error": "invalid_grant", "error_description": LONG}, "status 400: ..."),
        (400, {"errors": ["odd"]}, "gave no token: status 400"),
        (500, ["odd"], "gave no token: status 500"),
        (200, {}, "gave no token"),
        (200, {"access_token": "two words"}, "gave no token"),
        (200, {"access_token": 7}, "gave no token"),
    ],
    ids=range(9),
)
def test_any_other_answer_than_a_token_is_one_line_without_the_proof(
    moorage: Command, registry: LoginRegistry, status: int, answer: dict[str, object], told: str
) -> None:
    """It has the status and the message of the registry."""
    registry.status, registry.answer, registry.headers = status, answer, {"Retry-After": "7"}
    result = moorage(f"login {registry.url} --print --oidc-env PROOF")
    check_refused(result, told)
    assert result.err.count("\n") == 1
    assert PROOF not in result.err
    assert LONG not in result.err


@pytest.mark.parametrize("wait", ["", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "9" * 5000])
def test_a_wait_that_is_no_number_of_seconds_is_a_while(
    moorage: Command, registry: LoginRegistry, wait: str
) -> None:
    """No text of the server's is shown in its place."""
    registry.status, registry.headers = 429, {"Retry-After": wait}
    assert "wait a while\n" in moorage(f"login {registry.url} --print --oidc-env PROOF").err


@pytest.mark.parametrize("seconds", [None, True, -60, 1.5, "3600", 10**30])
def test_a_life_that_is_no_number_of_seconds_is_not_shown(
    moorage: Command, registry: LoginRegistry, seconds: object
) -> None:
    """The token is good all the same."""
    registry.answer["expires_in"] = seconds
    result = moorage(f"login {registry.url} --print --oidc-env PROOF")
    assert (result.status, result.err) == (0, f"{registry.host}: a token\n")


def test_a_url_that_programs_read_differently_is_refused() -> None:
    """With control characters, spaces, or other than ASCII."""
    for url in ("https://r.example.com\r\nHost: x", "https://r.exämple.com", "https://r\t.com"):
        with pytest.raises(AddressError):
            require_safe(url)
    assert require_safe("https://r.example.com") == urlsplit("https://r.example.com")
