"""Another issuer for tests: keys made when they are needed, tokens, and a server on loopback.

The server counts what it is asked, and answers with whatever a test puts in its pages.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.chalicelib.access.values import NOW
from tests.support.fake_http import FakeRequest, run_fake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from chalicelib.access.federation.key_sets import KeySet

AT = int(NOW)
ISSUER = "https://token.example.com/tenant"
AUDIENCE = "registry.example.com"
SUBJECT = "repo:org/app:ref:refs/heads/main"
PAYLOAD: Mapping[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": SUBJECT,
    "iat": AT - 5,
    "nbf": AT - 5,
    "exp": AT + 300,
}
DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key that is made once; each number has its own."""
    del number
    return rsa.generate_private_key(65537, bits)


@functools.cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    """Return a key on P-256, likewise."""
    del number
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """Return the public half of a private key as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def jwk(key: Any, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - a key of any kind, any member
    """Return the public half of a private key as a JSON web key, with other members."""
    kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else None
    algorithm = kind or jwt.algorithms.ECAlgorithm
    written: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    written.pop("key_ops", None)
    return written | members


def key_set(*keys: Mapping[str, Any]) -> bytes:
    """Return a key set as it is published."""
    return json.dumps({"keys": keys}).encode()


def token(
    key: Any = None,  # noqa: ANN401 - a private key of any kind
    algorithm: str = "RS256",
    kid: str | None = "one",
    **claims: Any,  # noqa: ANN401 - any claim
) -> str:
    """Return a token, signed by `rsa_key()` unless it is told; a claim of None is left out."""
    payload = {name: value for name, value in {**PAYLOAD, **claims}.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(payload, key or rsa_key(), algorithm, headers=headers)


def segment(value: object) -> str:
    """Return a value as a segment of a token: JSON, unless it is bytes."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def respelled(token: str) -> str:
    """Return a token whose signature has another spelling of the same bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + letters[letters.index(token[-1]) ^ 1]


class FixedKeySets:
    """`KeySets` that are known beforehand, and note for whom they were asked."""

    def __init__(self, by_issuer: Mapping[str, KeySet]) -> None:
        self.by_issuer = by_issuer
        self.asked: list[tuple[str, str | None]] = []

    def keys(self, issuer: str, key_id: str | None) -> KeySet:
        """Return the keys of an issuer, which there must be."""
        self.asked.append((issuer, key_id))
        return self.by_issuer[issuer]


@dataclass(frozen=True)
class StubResponse:
    """An answer; `pause`: seconds between its bytes."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pause: float = 0


@dataclass
class Server:
    """A server on loopback: `pages` by path, and how often each was asked for."""

    url: str
    pages: dict[str, StubResponse] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    received: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Paths with their query, and the headers by lower-case name."""

    def publish(self, *keys: Mapping[str, Any], **members: Any) -> None:  # noqa: ANN401 - any member
        """Publish keys, and a discovery document with other members; None leaves one out."""
        document = {"issuer": self.url, "jwks_uri": self.url + KEYS, **members}
        kept = {name: value for name, value in document.items() if value is not None}
        self.pages[DISCOVERY] = StubResponse(json.dumps(kept).encode())
        self.pages[KEYS] = StubResponse(key_set(*keys))

    def respond(self, request: FakeRequest) -> None:
        """Answer with a page, one byte after the other if the page says so."""
        path = request.path.partition("?")[0]
        self.asked[path] += 1
        received = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((request.path, received))
        page = self.pages.get(path, StubResponse(b"there is nothing here", 404))
        headers = {name.replace("-", "_"): value for name, value in page.headers.items()}
        request.pause, request.close_connection = page.pause, True
        request.answer(page.status, page.body, **headers)


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server("")
    with run_fake(server.respond) as server.url:
        yield server
