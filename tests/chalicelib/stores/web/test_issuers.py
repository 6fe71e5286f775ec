"""Other issuers' keys: fetched from a server on loopback, kept, and read again in time."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from chalicelib.access.federation.exchange import SubjectTokenType, TokenExchange
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust
from chalicelib.errors import UnavailableError
from chalicelib.stores.aws.sts import StsClient
from chalicelib.stores.web import issuers as issuers_module
from chalicelib.stores.web.fetches import FetchedResponse, FetchError
from chalicelib.stores.web.issuers import FAILED_FOR, KEPT, MAX_BYTES, UNKNOWN_FOR, Issuers
from tests.chalicelib.access.values import NOW
from tests.support.issuer import (
    AUDIENCE,
    DISCOVERY,
    KEYS,
    Server,
    StubResponse,
    ec_key,
    jwk,
    key_set,
    rsa_key,
    serving,
    token,
)
from tests.support.memory_access import MemoryAccessStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


ONE, TWO = jwk(rsa_key(), kid="one"), jwk(ec_key(), kid="two")


@pytest.fixture
def server() -> Iterator[Server]:
    """An issuer that publishes one key."""
    with serving() as server:
        server.publish(ONE)
        yield server


@pytest.fixture
def clock() -> mock.Mock:
    """A clock that a test moves."""
    return mock.Mock(return_value=1000.0)


@pytest.fixture
def issuers(clock: mock.Mock) -> Issuers:
    """Issuers of which nothing was read yet."""
    return Issuers(clock=clock)


def readings(server: Server) -> int:
    """How often the keys of an issuer were read."""
    assert server.asked[DISCOVERY] >= server.asked[KEYS]
    return server.asked[KEYS]


# reading and keeping


def test_keys_are_read_once_an_hour(issuers: Issuers, server: Server, clock: mock.Mock) -> None:
    """Keys are kept for an hour from their reading, whoever asks for them."""
    for _ in range(3):
        assert set(issuers.keys(server.url, "one")) == {"one"}
    clock.return_value += KEPT - 1
    issuers.keys(server.url, "one")
    assert (server.asked[DISCOVERY], server.asked[KEYS]) == (1, 1)
    server.publish(TWO)
    clock.return_value += 1
    assert set(issuers.keys(server.url, "two")) == {"two"}
    assert readings(server) == 2
    assert server.received[0][1]["accept"] == "application/json"


def test_an_unknown_key_is_looked_for_once_a_minute(
    issuers: Issuers, server: Server, clock: mock.Mock
) -> None:
    """A new key is found at most a minute after the last reading, for all callers."""
    issuers.keys(server.url, "one")
    server.publish(ONE, TWO)
    for number in range(20):
        assert set(issuers.keys(server.url, f"x{number}")) == {"one"}
    assert readings(server) == 1
    clock.return_value += UNKNOWN_FOR
    assert set(issuers.keys(server.url, "two")) == {"one", "two"}
    for number in range(20):
        issuers.keys(server.url, f"y{number}")
    assert readings(server) == 2


def test_a_token_without_a_kid_is_no_reason_to_read_again(
    issuers: Issuers, server: Server, clock: mock.Mock
) -> None:
    """Keys are kept for their hour where no key is asked for by name."""
    issuers.keys(server.url, None)
    clock.return_value += UNKNOWN_FOR * 2
    issuers.keys(server.url, None)
    assert readings(server) == 1


def test_concurrent_requests_read_the_keys_of_an_issuer_once(
    issuers: Issuers, server: Server
) -> None:
    """Threads that want the same keys at the same time wait for one reading of them."""
    together = threading.Barrier(8)

    def ask(_: int) -> set[str]:
        together.wait(timeout=20)
        return set(issuers.keys(server.url, "one"))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{"one"}] * 8
    assert readings(server) == 1


def test_keys_of_one_issuer_are_not_used_for_another(issuers: Issuers, server: Server) -> None:
    """One issuer's keys are no other's."""
    with serving() as other:
        other.publish(TWO)
        assert set(issuers.keys(server.url, "one")) == {"one"}
        assert set(issuers.keys(other.url, "two")) == {"two"}


@pytest.mark.parametrize("path", ["/tenant", "/tenant/", "/a/b/v2.0", "/"])
def test_an_issuer_with_a_path(issuers: Issuers, server: Server, path: str) -> None:
    """The document is below the issuer's path; a slash at its end counts in the name alone."""
    issuer, below = server.url + path, path.rstrip("/")
    server.publish(ONE, issuer=issuer)
    server.pages[below + DISCOVERY] = (
        server.pages.pop(DISCOVERY) if below else server.pages[DISCOVERY]
    )
    assert set(issuers.keys(issuer, "one")) == {"one"}


# failures


def test_a_failing_issuer_is_left_alone_for_a_while(
    issuers: Issuers, server: Server, clock: mock.Mock
) -> None:
    """Then its keys are read again."""
    good = server.pages[KEYS]
    server.pages[KEYS] = StubResponse(b"", 500)
    for _ in range(5):
        with pytest.raises(UnavailableError) as failed:
            issuers.keys(server.url, "one")
        assert failed.value.retry_after == FAILED_FOR
    assert readings(server) == 1
    server.pages[KEYS] = good
    clock.return_value += FAILED_FOR
    assert set(issuers.keys(server.url, "one")) == {"one"}


def test_both_documents_have_one_deadline(
    issuers: Issuers, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An issuer that takes nearly all of it for the first one has no more for the second."""
    monkeypatch.setattr(issuers_module, "DEADLINE", 3)
    for path in (DISCOVERY, KEYS):
        page = server.pages[path]
        server.pages[path] = StubResponse(page.body, pause=1.7 / len(page.body))
    with pytest.raises(UnavailableError):
        issuers.keys(server.url, None)
    assert (server.asked[DISCOVERY], server.asked[KEYS]) == (1, 1)


def test_known_keys_outlive_a_failure(issuers: Issuers, server: Server, clock: mock.Mock) -> None:
    """While an issuer fails its known keys count, and no other is called unknown."""
    issuers.keys(server.url, "one")
    server.pages[KEYS] = StubResponse(b"", 500)
    clock.return_value += UNKNOWN_FOR
    for _ in range(5):
        with pytest.raises(UnavailableError):
            issuers.keys(server.url, "two")
        assert set(issuers.keys(server.url, "one")) == {"one"}
    assert readings(server) == 2
    clock.return_value += KEPT
    with pytest.raises(UnavailableError):
        issuers.keys(server.url, "one")
    assert readings(server) == 3


def test_an_unreachable_issuer_is_unavailable(issuers: Issuers) -> None:
    """An issuer that can't be reached is unavailable."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError) as failed:
            issuers.keys(url, "one")
    assert isinstance(failed.value.__cause__, FetchError)


@pytest.mark.parametrize("issuer", [AWS, "http://token.example.com", "file:///etc", "x"])
def test_nothing_is_fetched_for_a_url_that_no_trust_could_name(issuer: str) -> None:
    """Nothing is fetched for what no trust could name."""
    fetch = mock.Mock()
    with pytest.raises((UnavailableError, ValueError)):
        Issuers(fetch=fetch).keys(issuer, "one")
    fetch.assert_not_called()


@pytest.mark.parametrize(
    "keys", ["https://b.example:8443/keys?v=1", "http://a.example/keys", "http://127.0.0.1/keys"]
)
def test_an_issuer_with_tls_has_no_keys_without_it(keys: str) -> None:
    """It is asked where its name says, and so are its keys; not even loopback goes without."""
    issuer, document = "https://a.example/x/", f"https://a.example/x{DISCOVERY}"
    answers = {document: json.dumps({"issuer": issuer, "jwks_uri": keys}).encode()}
    fetch = mock.Mock(
        side_effect=lambda url, **_: FetchedResponse(200, answers.get(url, key_set(ONE)))
    )
    issuers = Issuers(fetch=fetch)
    if keys.startswith("https:"):
        assert set(issuers.keys(issuer, "one")) == {"one"}
    else:
        with pytest.raises(UnavailableError):
            issuers.keys(issuer, "one")
    urls = [document, keys] if keys.startswith("https:") else [document]
    headers = {"Accept": "application/json"}
    assert fetch.mock_calls == [
        mock.call(url, limit=MAX_BYTES, headers=headers, end=mock.ANY) for url in urls
    ]
    assert len({call.kwargs["end"] for call in fetch.mock_calls}) == 1


# all together


def test_a_token_is_exchanged_by_its_issuers_published_keys(
    issuers: Issuers, server: Server
) -> None:
    """Other issuers get no request."""
    store = MemoryAccessStore()
    store.put_trust(
        Trust.parse(
            "ci",
            issuer=server.url,
            audience=AUDIENCE,
            subject="repo:org/app:*",
            grants=["team/**:push"],
        )
    )
    exchange = TokenExchange(store, issuers, StsClient(), "registry.example.com")
    found = exchange.exchange(SubjectTokenType.ID_TOKEN, token(iss=server.url), NOW)
    assert found.source == "ci"
    with serving() as evil:
        evil.publish(jwk(rsa_key(1), kid="one"))
        forged = [
            (token(rsa_key(1), iss=evil.url), Reason.IDENTITY_ISSUER),
            (token(rsa_key(1), iss=server.url), Reason.IDENTITY_SIGNATURE),
            (token(rsa_key(1), iss=server.url, kid="x"), Reason.IDENTITY_KEY),
        ]
        for text, reason in forged:
            with pytest.raises(AuthenticationError) as refused:
                exchange.exchange(SubjectTokenType.ID_TOKEN, text, NOW)
            assert refused.value.reason == reason
        assert not evil.asked


def documents(url: str) -> dict[str, StubResponse]:
    """Return discovery documents that can't be used, of an issuer at `url`."""

    def document(**members: Any) -> StubResponse:  # noqa: ANN401 - any member
        told = {"issuer": url, "jwks_uri": url + KEYS} | members
        return StubResponse(json.dumps({name: told[name] for name in told if told[name]}).encode())

    port = url.rpartition(":")[2]
    return {
        "another issuer": document(issuer="https://accounts.example.com"),
        "a slash more": document(issuer=url + "/"),
        "no issuer": document(issuer=None),
        "several issuers": document(issuer=[url]),
        "no keys": document(jwks_uri=None),
        "keys in a list": document(jwks_uri=[url + KEYS]),
        "keys in a file": document(jwks_uri="file:///etc/passwd"),
        "keys by FTP": document(jwks_uri="ftp://127.0.0.1/keys"),
        "keys as data": document(jwks_uri="data:application/json,{}"),
        "keys without TLS": document(jwks_uri="http://keys.example.com/keys"),
        "keys of a neighbour": document(jwks_uri="http://169.254.169.254/keys"),
        "keys of a user": document(jwks_uri=f"http://x@127.0.0.1:{port}/keys"),
        "keys of two hosts": document(jwks_uri=f"http://127.0.0.1:{port}@evil.example/keys"),
        "keys with a space": document(jwks_uri=f"{url}/ke ys"),
        "keys on two lines": document(jwks_uri=f"{url}/keys\r\nX: y"),
        "a relative URL": document(jwks_uri=KEYS),
        "no object": StubResponse(b"[]"),
        "no JSON": StubResponse(b"<html>"),
        "an issuer twice": StubResponse(f'{{"issuer":"{url}","issuer":"{url}"}}'.encode()),
        "too long": StubResponse(b" " * MAX_BYTES + document().body),
        "longer than said": StubResponse(document().body, headers={"Content-Length": "9999"}),
        "an error": StubResponse(document().body, 500),
        "absent": StubResponse(document().body, 404),
        "moved": StubResponse(b"", 302, {"Location": url + "/elsewhere"}),
        "moved for good": StubResponse(document().body, 301, {"Location": "https://evil.example/"}),
        "only a part": StubResponse(document().body, 206),
    }


@pytest.mark.parametrize("name", documents("http://127.0.0.1:1"))
def test_an_unusable_discovery_document_is_unavailable(
    server: Server, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that is another issuer's, or leads elsewhere, is a failure and is not used."""
    monkeypatch.setattr(socket, "getaddrinfo", _only_loopback)
    server.pages[DISCOVERY] = documents(server.url)[name]
    server.pages["/elsewhere"] = documents(server.url)["no JSON"]
    with pytest.raises(UnavailableError) as failed:
        Issuers().keys(server.url, "one")
    assert failed.value.__cause__ is not None
    assert (server.asked[KEYS], server.asked["/elsewhere"]) == (0, 0)


_getaddrinfo = socket.getaddrinfo


def _only_loopback(host: str, *rest: Any, **more: Any) -> Any:  # noqa: ANN401 - the socket module's own
    assert host in {"127.0.0.1", "localhost"}, f"{host} was about to be asked"
    return _getaddrinfo(host, *rest, **more)


SETS: Mapping[str, StubResponse] = {
    "no keys": StubResponse(key_set()),
    "no usable keys": StubResponse(key_set({"kty": "oct", "k": "AAAA"})),
    "two of one id": StubResponse(key_set(ONE, ONE)),
    "too long": StubResponse(key_set(ONE, {"kty": "x", "x": "x" * MAX_BYTES})),
    "an error": StubResponse(key_set(ONE), 503),
    "moved": StubResponse(b"", 307, {"Location": "/other"}),
    "cut": StubResponse(key_set(ONE), headers={"Content-Length": "99999"}),
    "no JSON": StubResponse(b"keys"),
}


@pytest.mark.parametrize("name", SETS)
def test_an_unusable_key_set_is_unavailable(server: Server, name: str) -> None:
    """A key set that can't be read whole is not used."""
    server.pages[KEYS] = SETS[name]
    server.pages["/other"] = StubResponse(key_set(ONE))
    with pytest.raises(UnavailableError):
        Issuers().keys(server.url, "one")
    assert server.asked["/other"] == 0
