"""What `--auth` of `moorage local` decides: for the gateway, for people, and before all starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.common.data import DataNames
from moorage.local.options import LocalOptions, gateway_environment
from moorage.local.ready import LocalAddresses, closed
from tests.emulators.backends import ministack_backend
from tests.moorage.local import driver as local_driver

ENDPOINT = "http://127.0.0.1:4566"
STRAY = {
    "AUTH": "1",
    "ADMIN_TOKEN_FILE": "/elsewhere",
    "MOORAGE_AUTH": "maybe",
    "MOORAGE_URL": "https://elsewhere.invalid",
    "MOORAGE_SIGNING_KEY": "/elsewhere",
    "MOORAGE_ACCESS_TABLE": "elsewhere",
    "AWS_ENDPOINT_URL_SSM": "http://elsewhere.invalid",
    "AWS_ENDPOINT_URL_STS": "http://elsewhere.invalid",
}


@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
def test_without_access_control_the_gateway_is_told_so(endpoint: str | None) -> None:
    """Whatever the shell has set, the option decides; nothing of another registry is left."""
    options = LocalOptions(aws_endpoint=endpoint)
    environment = gateway_environment(STRAY, options, DataNames(), ENDPOINT)
    assert environment["MOORAGE_AUTH"] == "off"
    assert environment["MOORAGE_ACCESS_TABLE"] == "moorage-access"
    assert "elsewhere" not in "".join(environment.values())
    assert not {"AUTH", "ADMIN_TOKEN_FILE"} & set(environment)


@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
def test_with_access_control_the_gateway_knows_its_url_and_key(endpoint: str | None) -> None:
    """The URL is the gateway's, whatever the shell has set."""
    options = LocalOptions(gateway_port=8001, aws_endpoint=endpoint, auth=True)
    environment = gateway_environment(STRAY, options, DataNames(), ENDPOINT)
    assert environment["MOORAGE_AUTH"] == "on"
    assert environment["MOORAGE_URL"] == "http://127.0.0.1:8001"
    assert environment["MOORAGE_SIGNING_KEY"] == "/moorage/signing-key"
    assert environment["MOORAGE_ACCESS_TABLE"] == "moorage-access"
    assert "elsewhere" not in "".join(environment.values())


def test_a_file_for_a_token_that_there_is_not_is_refused(tmp_path: Path) -> None:
    """Who names a file expects access control: an open registry would be a surprise."""
    driven = local_driver.start(tmp_path, options={"admin_token_file": str(tmp_path / "token")})
    status, output, errors = driven.end()
    assert (status, output, driven.noted()) == (1, "", [])
    assert "--auth (or AUTH=1)" in errors


def test_an_endpoint_without_ssm_is_refused(tmp_path: Path) -> None:
    """Access control needs a place for its key; the error names the endpoint, and nothing runs."""
    with ministack_backend() as other:
        options = {"aws_endpoint": other.endpoint_url, "auth": True}
        driven = local_driver.start(tmp_path, options=options)
        status, output, errors = driven.end()
    assert (status, output, driven.noted()) == (1, "", [])
    assert f"access control could not be set up at {other.endpoint_url}" in errors
    assert "SSM" in errors


def test_the_guide_of_a_closed_registry_hides_the_token_that_is_in_a_file() -> None:
    """Its lines read the file, whatever its name; only without a file is the token shown."""
    secret = "moor_secret"  # noqa: S105 - a test's
    addresses = LocalAddresses("http://127.0.0.1:8000", "http://127.0.0.1:5000", "", secret)
    file = Path("/tmp/a token")  # noqa: S108 - nothing is written there
    text = closed(addresses, secret, file)
    assert "moor_secret" not in text
    for program in ("docker login", "podman login --tls-verify=false"):
        line = f"{program} -u admin 127.0.0.1:5000 --password-stdin < '/tmp/a token'"
        assert line in text
    assert "curl -K - http://127.0.0.1:8000/v2/_token" in text
    text = closed(addresses, secret, None)
    assert text.count("moor_secret") == 1
    assert "docker login -u admin 127.0.0.1:5000\n" in text
