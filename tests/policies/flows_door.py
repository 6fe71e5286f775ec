"""Flows of logging in: what the authorizer is shown, and every grant type of the token endpoint."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING
from unittest import mock

import boto3

from chalicelib.access.credentials import generate
from chalicelib.access.federation.exchange import SubjectTokenType
from chalicelib.access.trusts import AWS, Trust
from chalicelib.digest import Digest
from moorage.login.aws import presigned_identity
from tests.policies.deployed import SERVICE, ReplayedDeployment, basic
from tests.policies.leftovers import published
from tests.support.issuer import jwk, rsa_key, serving, token
from tests.support.values import fresh_name

if TYPE_CHECKING:
    from chalicelib.api.messages import Response

DAY = 24 * 3600.0
ROLE = "arn:aws:sts::123456789012:assumed-role/ci"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DATA = bytes(2000)


def issued(response: Response) -> dict[str, str]:
    """Return what the token endpoint gave."""
    assert response.status == 200, response.body
    told: dict[str, str] = json.loads(response.body)
    return told


def the_authorizer(deployment: ReplayedDeployment) -> None:
    """Basic and Bearer headers of somebody and of nobody; the day of use is noted once a day."""
    header = deployment.credential("team/*:pull")
    scope = "scope=repository:team/app:pull&scope=registry:catalog:*"
    bearer = f"Bearer {issued(deployment.token('GET', {}, scope, header))['token']}"
    for shown in (header, bearer):
        assert deployment.identify(shown) is not None
    for shown in (basic(generate()), f"{bearer}x", "Digest x"):
        assert deployment.identify(shown) is None
    with deployment.earlier(-DAY):
        assert deployment.identify(header) is not None


def passwords(deployment: ReplayedDeployment) -> None:
    """GET and POST with an API token; a refresh token; nobody in particular."""
    header = deployment.credential("team/*:pull")
    query = "scope=registry:catalog:*&offline_token=true"
    refresh = issued(deployment.token("GET", {}, query, header))["refresh_token"]
    issued(deployment.token("POST", {"grant_type": "refresh_token", "refresh_token": refresh}))
    issued(deployment.token("GET", {}, "scope=repository:open/app:pull"))
    key = generate()
    form = {"grant_type": "password", "username": "me", "password": key}
    for _ in range(3):  # the counter is made, and then raised
        assert deployment.token("POST", form).status == 401


def public_repositories(deployment: ReplayedDeployment) -> None:
    """Whether a repository is public is looked up where grants don't say enough."""
    name, header = published(deployment, DATA), deployment.credential("other/*:pull")
    target = f"{name}/blobs/{Digest.of(DATA)}"
    assert deployment.ask("GET", target, by=header).status == 403
    deployment.access.set_public(name, public=True)
    assert deployment.ask("GET", target, by=header).status == 307
    assert deployment.ask("GET", "_catalog", by=header).status == 200


def an_identity_token(deployment: ReplayedDeployment) -> None:
    """Another issuer's user gets a token, and comes with it."""
    with serving() as server:
        server.publish(jwk(rsa_key(), kid="one", alg="RS256", use="sig"))
        now, name = int(time.time()), f"t-{os.urandom(4).hex()}"
        deployment.access.put_trust(
            Trust.parse(
                name,
                issuer=server.url,
                audience=SERVICE,
                subject="repo:org/app:*",
                grants=["team/**:pull,push"],
            )
        )
        shown = token(iss=server.url, aud=SERVICE, iat=now - 5, nbf=now - 5, exp=now + 300)
        for kind in (SubjectTokenType.ID_TOKEN, SubjectTokenType.JWT):
            comes_in(deployment, kind, shown)
        deployment.access.delete_trust(name)


def an_aws_identity(deployment: ReplayedDeployment) -> None:
    """Somebody in a trusted role of AWS, whom STS knows, gets a token, and comes with it."""
    trust = Trust.parse(
        "aws", issuer=AWS, audience="", subject=f"{ROLE}/*", grants=["team/**:push"]
    )
    deployment.access.put_trust(trust)
    assumed = deployment.backend.client("sts").assume_role(
        RoleArn="arn:aws:iam::123456789012:role/ci", RoleSessionName="run-7"
    )["Credentials"]
    variables = {
        "AWS_ACCESS_KEY_ID": assumed["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": assumed["SecretAccessKey"],
        "AWS_SESSION_TOKEN": assumed["SessionToken"],
    }
    with mock.patch.dict(os.environ, variables), mock.patch.object(boto3, "DEFAULT_SESSION", None):
        proof = presigned_identity(SERVICE, "eu-central-1")
    comes_in(deployment, SubjectTokenType.AWS_IDENTITY, proof)


def comes_in(deployment: ReplayedDeployment, kind: SubjectTokenType, shown: str) -> None:
    """Exchange a proof for a login token and for a token with scopes, and use both."""
    form = {"grant_type": EXCHANGE, "subject_token_type": kind.value, "subject_token": shown}
    login = issued(deployment.token("POST", form))["access_token"]
    name = fresh_name()
    scoped = issued(deployment.token("POST", {**form, "scope": f"repository:{name}:push"}))
    for header in (basic(login), f"Bearer {scoped['access_token']}"):
        assert deployment.ask("POST", f"{name}/blobs/uploads", by=header).status == 202


FLOWS = (the_authorizer, passwords, public_repositories, an_identity_token, an_aws_identity)
