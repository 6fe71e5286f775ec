"""The options of `moorage local`: its ports, and the environment of its gateway."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from moorage.common.data import DataNames
from moorage.local import LocalError, ports
from moorage.local.options import (
    LocalOptions,
    gateway_environment,
    port_problem,
    with_ports,
)
from moorage.local.ready import LocalAddresses, closed

ENDPOINT = "http://127.0.0.1:4566"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "real",
    "AWS_ENDPOINT_URL_S3": "http://elsewhere.invalid",
    "PATH": "/bin",
}
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


@pytest.mark.parametrize("name", ["gateway", "proxy", "edge"])
def test_a_taken_port_is_an_error_that_names_both_ways_to_move_it(name: str) -> None:
    """It is one line, and there is one for each of the three ports."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        free = {"gateway_port": 0, "proxy_port": 0, "edge_port": 0}
        with pytest.raises(LocalError) as caught:
            with_ports(LocalOptions(**{**free, f"{name}_port": port}))
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"port {port} is already in use, and the {name} needs it")
    assert f"`{name.upper()}_PORT={port + 1} make run`" in text
    assert f"`moorage local --{name}-port {port + 1}`" in text


@pytest.mark.parametrize(("system", "mentioned"), [("darwin", True), ("linux", False)])
def test_airplay_is_mentioned_on_macos_alone(
    monkeypatch: pytest.MonkeyPatch, system: str, *, mentioned: bool
) -> None:
    """The error about port 5000 names AirPlay where it exists."""
    monkeypatch.setattr("sys.platform", system)
    assert ("AirPlay" in port_problem("proxy", 5000, "is already in use")) is mentioned


def test_a_token_file_without_access_control_is_refused() -> None:
    """Somebody who names a file expects access control: an open registry would be a surprise."""
    with pytest.raises(LocalError, match=r"--auth \(or AUTH=1\)"):
        with_ports(LocalOptions(admin_token_file=Path("token")))


@pytest.mark.parametrize(("gateway", "edge"), [(8000, 5001), (0, 5003)])
def test_the_edge_has_its_own_port_unless_the_gateway_has_any(
    monkeypatch: pytest.MonkeyPatch, gateway: int, edge: int
) -> None:
    """So that a second registry on this machine needs no third option."""
    free = iter((5002, 5003))
    monkeypatch.setattr(ports, "problem", lambda _: None)
    monkeypatch.setattr(ports, "free_port", lambda **_: next(free))
    options = with_ports(LocalOptions(gateway_port=gateway, proxy_port=5000))
    assert (options.gateway_port, options.edge_port) == (gateway or 5002, edge)


def test_ports_that_may_be_any_become_free_ones() -> None:
    """They differ, and the URL of the gateway has its port."""
    options = with_ports(LocalOptions(gateway_port=0, proxy_port=0, edge_port=0))
    assert len({0, options.gateway_port, options.proxy_port, options.edge_port}) == 4
    assert options.gateway_url == f"http://127.0.0.1:{options.gateway_port}"


@pytest.mark.parametrize("address", [("", 0), ("127.0.0.1", ports.free_port())])
def test_a_port_on_which_a_server_listens_is_in_use(address: tuple[str, int]) -> None:
    """On all addresses too: a new server could start beside it, and clients would reach either."""
    with socket.create_server(address) as server:
        assert ports.problem(server.getsockname()[1]) == "is already in use"


def test_a_free_port_is_never_an_excluded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ports, both free, only the other is found."""
    monkeypatch.setattr(ports, "problem", lambda _: None)
    monkeypatch.setattr(ports, "_FIRST", 20_000)
    monkeypatch.setattr(ports, "_LAST", 20_002)
    assert {ports.free_port({20_000}) for _ in range(20)} == {20_001}


@pytest.mark.parametrize("endpoint", [None, ENDPOINT])
@pytest.mark.parametrize("auth", [False, True])
def test_access_control_is_as_the_option_says(endpoint: str | None, *, auth: bool) -> None:
    """Settings that the shell has for another registry don't reach the gateway."""
    options = LocalOptions(gateway_port=8001, aws_endpoint=endpoint, auth=auth)
    environment = gateway_environment(STRAY, options, DataNames(), ENDPOINT)
    assert environment["MOORAGE_AUTH"] == ("on" if auth else "off")
    assert environment["MOORAGE_ACCESS_TABLE"] == "moorage-access"
    assert environment.get("MOORAGE_URL") == ("http://127.0.0.1:8001" if auth else None)
    assert environment.get("MOORAGE_SIGNING_KEY") == ("/moorage/signing-key" if auth else None)
    assert "elsewhere" not in "".join(environment.values())
    assert not {"AUTH", "ADMIN_TOKEN_FILE"} & set(environment)


FUNCTIONS = {"MOORAGE_COMMIT_FUNCTION": "elsewhere", "MOORAGE_VERIFY_FUNCTION": "elsewhere"}
SET = FUNCTIONS | {"no_proxy": "intranet"}
IRISH = SECRETS | {"AWS_DEFAULT_REGION": "eu-west-1"}
ON_MOTO, ELSEWHERE = LocalOptions(inline_limit=0), LocalOptions(aws_endpoint=ENDPOINT)
ENVIRONMENTS: list[tuple[dict[str, str], LocalOptions, str]] = [
    # On moto, credentials are made up and no setting of the user's is left.
    (SECRETS, ON_MOTO, "AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 PATH=/bin"),
    (SECRETS, ON_MOTO, "AWS_EC2_METADATA_DISABLED=true MALLOC_ARENA_MAX=2"),
    # Names and limits become the variables that chalicelib reads.
    (SET, ON_MOTO, "MOORAGE_BUCKET=b MOORAGE_REGISTRY_TABLE=r MOORAGE_UPLOADS_TABLE=u"),
    (SET, ON_MOTO, "MOORAGE_INLINE_LIMIT=0 NO_PROXY=intranet,127.0.0.1,localhost,::1"),
    # With --aws-endpoint credentials and region stay; made-up ones are enough for an emulator.
    (IRISH, ELSEWHERE, "AWS_ACCESS_KEY_ID=AKIAREAL AWS_REGION=eu-west-1"),
    ({}, ELSEWHERE, "AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_REGION=us-east-1"),
]


@pytest.mark.parametrize(("base", "options", "expected"), ENVIRONMENTS)
def test_the_gateways_environment(
    base: dict[str, str], options: LocalOptions, expected: str
) -> None:
    """The user's AWS settings reach the gateway only with --aws-endpoint, and no endpoint does."""
    environment = gateway_environment(base, options, DataNames("b", "r", "u"), ENDPOINT)
    wanted = dict(each.split("=") for each in expected.split())
    assert environment | wanted == environment
    assert environment["AWS_ENDPOINT_URL"] == ENDPOINT
    assert not {"AWS_ENDPOINT_URL_S3", *FUNCTIONS} & set(environment)
    assert ("real" in "".join(environment.values()).lower()) is (base is IRISH)


@pytest.mark.parametrize("origins", [None, "http://localhost:3000,https://ui.example.com", "*"])
def test_pages_of_other_sites_are_as_the_option_says(origins: str | None) -> None:
    """The shell's setting, which is for another registry, doesn't reach the gateway."""
    base = {"MOORAGE_CORS_ORIGINS": "https://elsewhere.invalid"}
    options = LocalOptions(cors_origins=origins)
    environment = gateway_environment(base, options, DataNames(), ENDPOINT)
    assert environment.get("MOORAGE_CORS_ORIGINS") == origins


@pytest.mark.parametrize(
    ("options", "variables", "every"),
    [
        # Over data in memory: each minute, so that the page soon knows the size of what was pushed.
        (LocalOptions(), {"GC_EVERY": "60s"}, 60),
        (LocalOptions(grace=3600), {"GC_EVERY": "60s", "GC_GRACE": "3600s"}, 60),
        (LocalOptions(grace=5), {"GC_EVERY": "5s", "GC_GRACE": "5s"}, 5),
        # Over the data of an AWS account, where reading costs money, as in a deployment.
        (LocalOptions(aws_endpoint=ENDPOINT), {}, None),
        (LocalOptions(aws_endpoint=ENDPOINT, grace=3600), {"GC_GRACE": "3600s"}, None),
        (
            LocalOptions(aws_endpoint=ENDPOINT, grace=5),
            {"GC_EVERY": "5s", "GC_GRACE": "5s"},
            5,
        ),
        (LocalOptions(collect=False), {"GC": "0"}, None),
    ],
)
def test_the_collector_is_as_the_options_say(
    options: LocalOptions, variables: dict[str, str], every: int | None
) -> None:
    """The scheduled functions run as often as the collector is to begin a pass."""
    environment = gateway_environment({}, options, DataNames(), ENDPOINT)
    told = {
        name.removeprefix("MOORAGE_"): value
        for name, value in environment.items()
        if name.startswith("MOORAGE_GC")
    }
    assert (told, options.every_seconds) == (variables, every)


def test_a_token_that_is_in_a_file_is_not_printed() -> None:
    """The login lines read the file, whatever its name; without a file the token is shown once."""
    secret = "moor_secret"  # noqa: S105 - a test's
    gateway, proxy, edge = (f"http://127.0.0.1:{port}" for port in (8000, 5000, 5001))
    addresses = LocalAddresses(gateway, proxy, edge, "", secret)
    text = closed(addresses, secret, Path("/tmp/a token"))  # noqa: S108 - nothing is written there
    assert secret not in text
    for program in ("docker login", "podman login --tls-verify=false"):
        line = f"{program} -u admin 127.0.0.1:5000 --password-stdin < '/tmp/a token'"
        assert line in text
    assert "curl -K - http://127.0.0.1:8000/v2/_token" in text
    text = closed(addresses, secret, None)
    assert text.count(secret) == 1
    assert "docker login -u admin 127.0.0.1:5000\n" in text
