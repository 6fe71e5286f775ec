"""Which Host and Origin a server answers to: no name that a web page has, or has led here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from moorage.common.errors import CommandError
from moorage.common.hosts import AllowedHosts, host_key, page_origins
from moorage.gateway.server import GatewayOptions
from moorage.proxy.options import ProxyOptions
from moorage.proxy.server import Proxy
from tests.support.servers import Recorder, exchange, run_gateway, run_server

if TYPE_CHECKING:
    from collections.abc import Iterator

OF_THIS_MACHINE = [
    "127.0.0.1",
    "127.0.0.1:5000",
    "127.9.9.9:1",
    "localhost",
    "LOCALHOST:5000",
    "localhost.",
    "localhost.:80",
    "registry.localhost:5000",
    "[::1]",
    "[::1]:5000",
    "[0:0:0:0:0:0:0:1]:80",
    "[::ffff:127.0.0.1]:80",
]
ADDRESSES = [
    "192.168.1.7",
    "192.168.1.7:5000",
    "10.0.0.1",
    "[fd00::1]:5000",
    "0.0.0.0:5000",
    "[::]",
]
NAMES = [
    "evil.example:5000",
    "localhost.evil.example",
    "127.0.0.1.nip.io",
    "127.0.0.1.evil.example",
    "notlocalhost",
    "host.docker.internal",
    "host.docker.internal.evil.example",
    "evil.example.",
    "127.1",
    "2130706433",
    "0x7f.1",
]
NO_HOST = (
    *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "localhost:80:80", "localhost/evil"),
    *("", " ", "[::1", "::1]", "[localhost]", "localhost evil.example", "localhost,evil.example"),
    *("localhost\\evil", "localhost?", "http://localhost", "löcalhost", ":5000", "."),
)
DOCKER = "host.docker.internal"


@pytest.mark.parametrize(
    ("allowed", "admitted"),
    [
        (AllowedHosts("127.0.0.1"), OF_THIS_MACHINE),
        (AllowedHosts("::1"), OF_THIS_MACHINE),
        (
            AllowedHosts("127.0.0.1", ["Host.Docker.Internal.:5000", "10.0.0.1"]),
            [*OF_THIS_MACHINE, DOCKER, "10.0.0.1"],
        ),
        (AllowedHosts("192.168.1.7"), [*OF_THIS_MACHINE, *ADDRESSES[:2]]),
        (AllowedHosts("fd00::1"), [*OF_THIS_MACHINE, "[fd00::1]:5000"]),
        (AllowedHosts("Registry.lan"), [*OF_THIS_MACHINE, "registry.lan:5000"]),
        # Rebinding takes a name: who listens for other machines is reached by any address.
        (AllowedHosts("0.0.0.0"), [*OF_THIS_MACHINE, *ADDRESSES]),  # noqa: S104 - what a user may give
        (AllowedHosts("::"), [*OF_THIS_MACHINE, *ADDRESSES]),
        (AllowedHosts("127.0.0.1", ["*"]), [*OF_THIS_MACHINE, *ADDRESSES, *NAMES]),
    ],
    ids=str,
)
def test_the_names_of_this_machine_and_those_that_are_allowed_are_admitted(
    allowed: AllowedHosts, admitted: list[str]
) -> None:
    """With any port, in any case of the letters; nothing else is, and no text that is no host."""
    hosts = [*OF_THIS_MACHINE, *ADDRESSES, *NAMES, *NO_HOST, "registry.lan:5000"]
    assert {host for host in hosts if allowed.admits(host)} >= set(admitted)
    wrongly = {host for host in hosts if allowed.admits(host)} - set(admitted)
    assert wrongly <= ({"registry.lan:5000"} if "*" in allowed.names else set())


def test_the_same_host_has_one_key() -> None:
    """However the host is written."""
    assert len({host_key(text) for text in ("::1", "[::1]", "[::1]:80", "0:0:0:0:0:0:0:1")}) == 1
    assert host_key("Registry.LAN.:5000") == "registry.lan"


def test_origins_that_can_not_be_read_end_the_command() -> None:
    """The command ends before it listens: otherwise every answer would be an error."""
    assert page_origins({}) == ()
    assert page_origins({"MOORAGE_CORS_ORIGINS": "https://a, https://b"}) == (
        "https://a",
        "https://b",
    )
    with pytest.raises(CommandError, match="MOORAGE_CORS_ORIGINS: 'https://a/' is no origin"):
        page_origins({"MOORAGE_CORS_ORIGINS": "https://a/"})


@pytest.mark.parametrize(
    ("origins", "taken"),
    [
        ((), []),
        (("https://ui.example",), ["https://ui.example"]),
        (("*",), ["https://ui.example", "https://evil.example", "null"]),
    ],
)
def test_pages_of_the_setting_are_answered(origins: tuple[str, ...], taken: list[str]) -> None:
    """Only these origins, by gateway and edge alike; a foreign Host is refused as before."""
    pages = ("https://ui.example", "https://evil.example", "null", "http://ui.example")
    with run_gateway(Recorder(), GatewayOptions(port=0, cors_origins=origins)) as gateway:
        answered = [
            page
            for page in pages
            if told(gateway, "GET /v2/", "Host: localhost", f"Origin: {page}")[0] == 200
        ]
        assert answered[:3] == taken
        rebound = told(gateway, "GET /v2/", "Host: ui.example", "Origin: https://ui.example")
        assert rebound[0] == 403


@pytest.fixture(params=["gateway", "proxy"], scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A gateway, and a proxy before it; both allow one more name."""
    allowed = ("Registry.lan:5000",)
    options = GatewayOptions(port=0, allow_hosts=allowed)
    with run_gateway(Recorder(), options) as gateway:
        if request.param == "gateway":
            yield gateway
            return
        with run_server(Proxy(ProxyOptions(gateway, port=0, allow_hosts=allowed))) as proxy:
            yield proxy


def told(server: str, line: str, *headers: str) -> tuple[int, bytes]:
    """Send a request line and headers; return the status and the body."""
    lines = [f"{line} HTTP/1.1", *headers, "Content-Length: 2", "Connection: close", "", "{}"]
    head, _, body = exchange(server, "\r\n".join(lines).encode()).partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        ("GET /v2/", ["Host: localhost"], 200),
        ("GET /v2/", ["host: REGISTRY.LAN"], 200),
        ("GET /v2/", ["Host: [::1]:5000", "X-Forwarded-Host: evil.example"], 200),
        ("GET http://localhost/v2/", ["Host: localhost"], 200),
        ("GET /v2/", ["Host: evil.example", "X-Forwarded-Host: localhost"], 403),
        ("POST /v2/x/blobs/uploads/", ["Host: evil.example", "Origin: http://evil.example"], 403),
        ("PUT /v2/x/manifests/1", ["Host: 127.0.0.1.nip.io"], 403),
        ("HEAD /v2/", ["Host: evil.example"], 403),
        ("OPTIONS /v2/", ["Host: evil.example"], 403),
        # RFC 9112, 3.2.2: the URL counts; a proxy of the browser's would send both alike.
        ("GET http://evil.example/v2/", ["Host: localhost"], 403),
        ("GET HTTPS://evil.example:5000/v2/", ["Host: localhost"], 403),
        ("GET http://evil.example@127.0.0.1/v2/", ["Host: localhost"], 403),
        ("GET http://localhost/v2/", ["Host: evil.example"], 403),
        ("POST /v2/x/blobs/uploads/", ["Host: localhost", "Origin: http://localhost:8080"], 200),
        ("POST /v2/x/blobs/uploads/", ["Host: localhost", "Origin: https://registry.lan"], 200),
        ("POST /v2/x/blobs/uploads/", ["Host: localhost", "Origin: https://evil.example"], 403),
        ("POST /v2/x/blobs/uploads/", ["Host: localhost", "Origin: null"], 403),
        ("GET /v2/", ["Host: localhost", "Origin: http://localhost.evil.example"], 403),
        ("GET /v2/", ["Host: localhost", "Origin: http://evil.example@localhost"], 403),
        ("GET /v2/", ["Host: localhost", "Origin: http://localhost", "Origin: null"], 403),
        ("GET /v2/", [], 400),
        ("GET /v2/", ["Host:"], 403),
        ("GET /v2/", ["Host: localhost", "Host: evil.example"], 400),
        ("GET /v2/", ["Host: evil.example", "Host: localhost"], 400),
    ],
)
def test_another_host_and_a_foreign_page_are_refused(
    server: str, line: str, headers: list[str], status: int
) -> None:
    """By the gateway and by the proxy; the error names the option that allows it."""
    answer, body = told(server, line, *headers)
    assert answer == status
    if status == 403 and not line.startswith("HEAD"):
        [error] = json.loads(body)["errors"]
        assert error["code"] == "DENIED"
        assert "--allow-host" in error["message"]


def test_the_error_says_what_to_allow(server: str) -> None:
    """The option in it can be pasted."""
    assert b"--allow-host proxy.lan" in told(server, "GET /v2/", "Host: Proxy.lan:5000")[1]
