"""Where `moorage login` sends nothing: other machines in the clear, other registries, redirects."""

from __future__ import annotations

import email.message
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from moorage.common.http import AddressError, HttpResponse, host_of
from moorage.login import run as login
from moorage.login.http import require_safe
from tests.moorage.login.doubles import ISSUED, PROOF, LoginRegistry, run_login_registry

if TYPE_CHECKING:
    from tests.support.moorage_command import Command

LONG = "x" * 60


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
    result = moorage(f"login {registry.url} --print --oidc-env PROOF")
    assert (result.status, result.out) == (1, "")
    assert told in result.err
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
    assert (result.status, result.out) == (1, "")
    assert told in result.err
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


def answering(monkeypatch: pytest.MonkeyPatch, challenge: str) -> list[str]:
    """Let every address answer with a challenge; return those that were asked."""
    asked: list[str] = []
    headers = email.message.Message()
    headers["WWW-Authenticate"] = challenge

    def call(url: str, **_named: object) -> HttpResponse:
        asked.append(url)
        return HttpResponse(401, headers, b"")

    monkeypatch.setattr(login, "call", call)
    return asked


@pytest.mark.parametrize("service", ["sts.amazonaws.com", "other.example.com", "127.0.0.1:8000"])
@pytest.mark.parametrize("way", ["--oidc", "--aws"])
def test_no_proof_is_made_for_another_service(
    moorage: Command, monkeypatch: pytest.MonkeyPatch, service: str, way: str
) -> None:
    """A registry that names another service would get a proof that is good there."""
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://identity.example.com/")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
    challenge = f'Bearer realm="https://r.example.com/t",service="{service}"'
    asked = answering(monkeypatch, challenge)
    result = moorage(f"login https://r.example.com --print {way}")
    assert (result.status, result.out) == (1, "")
    assert f"calls itself {service!r}" in result.err
    assert asked == ["https://r.example.com/v2/"]


def test_the_service_can_be_named(moorage: Command, registry: LoginRegistry) -> None:
    """Behind an address of this machine, --service names the registry's own host."""
    registry.service = "r.example.com"
    words = f"login {registry.url} --print --oidc"
    assert "--service" in moorage(words).err
    assert "`permissions: id-token: write`" in moorage(f"{words} --service r.example.com").err
    assert "calls itself" in moorage(f"{words} --service s.example.com").err


def test_a_local_registry_may_be_behind_its_proxy(
    moorage: Command, registry: LoginRegistry
) -> None:
    """Both addresses are of this machine."""
    registry.service = "127.0.0.1:8000"
    assert "calls itself" not in moorage(f"login {registry.url} --print --oidc").err


def test_a_remote_registry_can_not_name_a_realm_on_this_machine(
    moorage: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any program that listens here would get the proof."""
    challenge = 'Bearer realm="http://127.0.0.1:9/t",service="r.example.com"'
    asked = answering(monkeypatch, challenge)
    result = moorage("login r.example.com --print --oidc-env PROOF")
    assert result.status == 1
    assert "which is this machine" in result.err
    assert asked == ["https://r.example.com/v2/"]


def test_a_redirect_is_not_followed(moorage: Command, registry: LoginRegistry) -> None:
    """The proof goes to the realm, and no further."""
    with run_login_registry() as other:
        registry.status, registry.headers = 307, {"Location": f"{other.url}/v2/_token"}
        result = moorage(f"login {registry.url} --print --oidc-env PROOF")
        assert (result.status, result.out) == (1, "")
        assert "status 307" in result.err
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
    assert (result.status, result.out) == (1, "")
    assert told in result.err
    assert result.err.count("\n") == 1
    assert PROOF not in result.err
    assert LONG not in result.err


def test_a_url_that_programs_read_differently_is_refused() -> None:
    """With control characters, spaces, or other than ASCII."""
    for url in ("https://r.example.com\r\nHost: x", "https://r.exämple.com", "https://r\t.com"):
        with pytest.raises(AddressError):
            require_safe(url)
    assert require_safe("https://r.example.com") == urlsplit("https://r.example.com")
