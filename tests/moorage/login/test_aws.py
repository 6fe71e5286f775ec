"""The client's proof of who it is on AWS, and what is said where there is none."""

from __future__ import annotations

import hashlib
import hmac
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from botocore.exceptions import ProfileNotFound

from chalicelib.access.federation.aws_identity import (
    PresignedCallerIdentity,
    host_of,
    parse_presigned,
)
from moorage.login.aws import presigned_identity
from moorage.login.http import LoginError

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY = "registry.example.com:8443"


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A machine on which nobody is logged in to AWS."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    return monkeypatch


@pytest.fixture
def logged_in(aws: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine on which somebody is."""
    aws.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    aws.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return aws


def now() -> float:
    """Return the time: botocore signs for that."""
    return datetime.now(UTC).timestamp()


def test_the_registrys_name_is_signed(logged_in: pytest.MonkeyPatch) -> None:
    """A proof for another registry has another signature; the name is not in the URL."""
    logged_in.setattr(
        "botocore.auth.get_current_datetime", lambda: datetime(2026, 11, 24, tzinfo=UTC)
    )
    one, two = presigned_identity(REGISTRY), presigned_identity("other.example.com")
    assert one.partition("X-Amz-Signature=")[0] == two.partition("X-Amz-Signature=")[0]
    assert one != two
    assert "registry.example.com" not in one


def as_sts_signs(presigned: PresignedCallerIdentity, service: str, secret: str) -> str:
    """Return the signature that STS computes of what we send it, by AWS's own description."""
    pairs = dict(pair.split("=", 1) for pair in presigned.query.split("&"))
    del pairs["X-Amz-Signature"]
    sorted_query = "&".join(f"{name}={pairs[name]}" for name in sorted(pairs))
    headers = f"host:{presigned.host}\nx-moorage-registry:{service}\n"
    signed, nothing = "host;x-moorage-registry", hashlib.sha256(b"").hexdigest()
    request = f"GET\n/\n{sorted_query}\n{headers}\n{signed}\n{nothing}"
    scope = presigned.credential.split("/")[1:]
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{pairs['X-Amz-Date']}\n{'/'.join(scope)}\n{hashed}"
    key = f"AWS4{secret}".encode()
    for part in (*scope, text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


@pytest.mark.parametrize("session", ["", "IQoJ+/b3" * 30 + "=="])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1"])
def test_the_registry_takes_the_proof_and_its_signature_is_the_one_that_sts_computes(
    logged_in: pytest.MonkeyPatch, region: str, session: str
) -> None:
    """In every region, with a session token and without; for our registry and no other one."""
    if session:
        logged_in.setenv("AWS_SESSION_TOKEN", session)
    url = presigned_identity(REGISTRY, region)
    sent = parse_presigned(url, now())
    assert (sent.host, sent.url) == (host_of(region), url)
    assert "secret" not in url
    signature = sent.query.rpartition("X-Amz-Signature=")[2]
    assert as_sts_signs(sent, REGISTRY, "secret") == signature
    assert as_sts_signs(sent, "other.example.com", "secret") != signature


def test_the_region_is_the_given_one_or_the_profiles(logged_in: pytest.MonkeyPatch) -> None:
    """Else it is us-east-1."""
    hosts = [parse_presigned(presigned_identity(REGISTRY), now()).host]
    logged_in.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    hosts += [
        parse_presigned(presigned_identity(REGISTRY, to), now()).host for to in (None, "eu-west-2")
    ]
    assert hosts == [host_of("us-east-1"), host_of("eu-west-1"), host_of("eu-west-2")]


def test_without_credentials_the_error_says_what_to_do(aws: pytest.MonkeyPatch) -> None:
    """Also with a profile that does not exist."""
    with pytest.raises(LoginError, match="aws configure"):
        presigned_identity(REGISTRY)
    aws.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(LoginError, match="get-caller-identity"):
        presigned_identity(REGISTRY)


def test_credentials_that_can_not_be_renewed_are_an_error(aws: pytest.MonkeyPatch) -> None:
    """Its text is that of the SDK."""
    session = mock.Mock(region_name=None)
    session.get_credentials.side_effect = ProfileNotFound(profile="sso")
    aws.setattr("moorage.login.aws.boto3.session.Session", lambda: session)
    with pytest.raises(LoginError, match="sso"):
        presigned_identity(REGISTRY)
