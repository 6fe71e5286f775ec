"""Asking STS: what is sent, what its answers mean, and the whole way with moto's."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING
from unittest import mock

import boto3
import pytest

from chalicelib.access.federation.aws_identity import (
    PresignedCallerIdentity,
    parse_presigned,
)
from chalicelib.access.federation.exchange import SubjectTokenType, TokenExchange
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.trusts import AWS, Trust
from chalicelib.errors import UnavailableError
from chalicelib.stores.aws.sts import MAX_BYTES, StsClient
from chalicelib.stores.web.fetches import FetchedResponse, FetchError
from chalicelib.stores.web.issuers import Issuers
from moorage.login.aws import presigned_identity
from tests.chalicelib.access.values import NOW
from tests.support.issuer import Server, StubResponse, serving
from tests.support.memory_access import MemoryAccessStore
from tests.support.presigned import presigned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend

SERVICE = "registry.example.com:8443"
ROLE = "arn:aws:sts::123456789012:assumed-role/ci"
ARN = f"{ROLE}/run-7"
ACCOUNT = "123456789012"
PRESIGNED = parse_presigned(presigned(), NOW)


def in_json(arn: object = ARN, account: object = ACCOUNT) -> bytes:
    """Return an answer as STS gives it in JSON."""
    result = {"Account": account, "Arn": arn, "UserId": "AROAEXAMPLE:run-7"}
    answer = {"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": "0"}}
    return json.dumps({"GetCallerIdentityResponse": answer}).encode()


def in_xml(head: str = "", arn: str = ARN, place: str = "doc/2011-06-15/") -> bytes:
    """Return an answer as STS gives it in XML."""
    return (
        f'{head}<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/{place}">'
        f"<GetCallerIdentityResult><Arn>{arn}</Arn><UserId>x</UserId><Account>{ACCOUNT}</Account>"
        "</GetCallerIdentityResult></GetCallerIdentityResponse>"
    ).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    """An STS on loopback that knows who it is."""
    with serving() as server:
        server.pages["/"] = StubResponse(in_json())
        yield server


def asked(server: Server) -> str:
    """Ask it."""
    return StsClient(endpoint=server.url).caller(PRESIGNED, SERVICE)


def test_the_checked_request_is_sent_to_sts(server: Server) -> None:
    """It has the registry's name in the signed header."""
    assert asked(server) == ARN
    path, headers = server.received[0]
    assert path == f"/?{PRESIGNED.query}"
    assert headers["x-moorage-registry"] == SERVICE
    assert headers["accept"] == "application/json"
    # By this moto knows that it is STS that is asked.
    assert headers["authorization"] == f"AWS4-HMAC-SHA256 Credential={PRESIGNED.credential}"


def test_a_request_goes_to_sts_with_tls() -> None:
    """Without an emulator it goes to STS itself."""
    fetch = mock.Mock(return_value=FetchedResponse(200, in_json()))
    assert StsClient(fetch=fetch).caller(PRESIGNED, SERVICE) == ARN
    headers = {"x-moorage-registry": SERVICE, "Accept": "application/json"}
    fetch.assert_called_once_with(presigned(), limit=MAX_BYTES, headers=headers)


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://sts.amazonaws.com",
        "http://sts.example.com",
        "http://127.0.0.1.evil.example",
        "http://127.0.0.1:80@evil.example",
        "http://127.0.0.1/x",
        "http://127.0.0.1?",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "",
    ],
    ids=range(9),
)
def test_an_emulator_of_sts_must_be_on_loopback(endpoint: str) -> None:
    """Any other endpoint is refused."""
    with pytest.raises(ValueError, match="loopback"):
        StsClient(endpoint=endpoint)


# fmt: off
ANSWERS = [
    in_json(), in_xml(), in_xml('<?xml version="1.0" encoding="UTF-8"?>\n'), b"\n  " + in_xml(),
]
UNREADABLE = [
    b"", b"{}", b"[]", b"null", b"\xff", b"<", b"[" * 60_000, b"<a>" * 9_000, in_json(arn=None),
    in_json(arn="nobody"), in_json(account="210987654321"), in_json(account=None),
    in_json(arn=[ARN]), in_json()[:-1], in_xml()[:-1], in_xml(arn=""), in_xml(arn="<b>x</b>"),
    in_xml(place="doc/2012/"), in_xml("<!-- -->"), in_xml(arn=f"<![CDATA[{ARN}]]>"),
    in_xml('<!DOCTYPE x [<!ENTITY a "b">]>'),
    in_xml('<!DOCTYPE x SYSTEM "file:///etc/passwd">'), in_xml().decode().encode("utf-16"),
    in_xml().replace(b"GetCallerIdentityResponse", b"AssumeRoleResponse"), in_xml(arn="&a;"),
    in_json().replace(b"GetCallerIdentityResult", b"AssumeRoleResult"), b" " * (MAX_BYTES + 1),
]
# fmt: on


@pytest.mark.parametrize("body", ANSWERS, ids=range(len(ANSWERS)))
def test_an_answer_of_sts_is_read_as_json_or_xml(server: Server, body: bytes) -> None:
    """JSON is requested."""
    server.pages["/"] = StubResponse(body)
    assert asked(server) == ARN


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_of_sts_refuses_the_login(server: Server, status: int) -> None:
    """The rest of the answer does not matter."""
    server.pages["/"] = StubResponse(in_json(), status)
    with pytest.raises(AuthenticationError) as refused:
        asked(server)
    assert refused.value.reason == Reason.AWS_REFUSED


@pytest.mark.parametrize(
    "page",
    [
        *map(StubResponse, UNREADABLE),
        StubResponse(in_json(), 500),
        StubResponse(b"", 503),
        StubResponse(in_json(), 429),
        StubResponse(b"<Code>Throttling</Code>", 400),
        StubResponse(b'{"Error": {"Code": "ThrottlingException"}}', 400),
        StubResponse(b"<Code>RequestLimitExceeded</Code>", 400),
        StubResponse(b"", 302, {"Location": "/elsewhere"}),
        StubResponse(in_json(), 201),
        StubResponse(in_json(), headers={"Content-Length": "9999"}),
    ],
    ids=range(9 + len(UNREADABLE)),
)
def test_a_failure_of_sts_is_no_refusal(server: Server, page: StubResponse) -> None:
    """An error, a busy STS or an unreadable answer is 503, and lets nobody in.

    No redirect of it is followed.
    """
    server.pages |= {"/": page, "/elsewhere": StubResponse(in_json())}
    with pytest.raises(UnavailableError):
        asked(server)
    assert server.asked["/elsewhere"] == 0


def test_an_unreachable_sts_is_a_failure() -> None:
    """The client may try again."""
    unreached = StsClient(fetch=mock.Mock(side_effect=FetchError("nowhere")))
    with pytest.raises(UnavailableError):
        unreached.caller(PRESIGNED, SERVICE)


def test_no_text_shows_the_signature_of_a_proof() -> None:
    """Whoever has a proof can use it."""
    assert "X-Amz" not in repr(PRESIGNED)
    assert "X-Amz" not in repr(
        PresignedCallerIdentity("sts.amazonaws.com", "X-Amz-Signature=0", "")
    )


@pytest.fixture
def whole(strict_moto: Backend, monkeypatch: pytest.MonkeyPatch) -> TokenExchange:
    """An exchange that asks moto's STS and trusts one role, on a machine that uses moto too."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in strict_moto.environment.items():
        monkeypatch.setenv(name, value)
    store = MemoryAccessStore()
    store.put_trust(
        Trust.parse("ci", issuer=AWS, audience="", subject=f"{ROLE}/*", grants=["team/**:push"])
    )
    return TokenExchange(store, Issuers(), StsClient(endpoint=strict_moto.endpoint_url), SERVICE)


def test_a_role_with_a_trust_is_let_in_by_sts(
    whole: TokenExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client makes the proof, moto's STS answers, and the trust lets it in."""
    assumed = (
        boto3.session.Session()
        .client("sts")
        .assume_role(RoleArn="arn:aws:iam::123456789012:role/ci", RoleSessionName="run-7")[
            "Credentials"
        ]
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", assumed["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", assumed["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", assumed["SessionToken"])
    proof = presigned_identity(SERVICE, "eu-central-1")
    found = whole.exchange(SubjectTokenType.AWS_IDENTITY, proof, time.time())
    assert (found.source, found.id) == ("ci", f"federated:aws#{ROLE}/run-7")


def test_an_identity_without_a_trust_is_refused_though_sts_knows_it(whole: TokenExchange) -> None:
    """Whoever STS knows, and no trust names, is not let in."""
    with pytest.raises(AuthenticationError) as refused:
        whole.exchange(SubjectTokenType.AWS_IDENTITY, presigned_identity(SERVICE), time.time())
    assert refused.value.reason == Reason.IDENTITY_SUBJECT
