"""Where requests go, and what they take along: never a login to another server."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING
from unittest import mock

import pytest
from aiohttp import web
from multidict import CIMultiDict

from moorage.common.patience import UpstreamResponse
from moorage.transfer.client import RegistryClient, refusal
from moorage.transfer.content import LARGEST_MANIFEST, TransferError
from moorage.transfer.places import registry_place
from tests.moorage.transfer.images import Content, noise
from tests.support.certificates import certificate
from tests.support.fake_registry import in_background, listen, run_handler
from tests.support.whole_registry import run_whole_registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.moorage.transfer.conftest import Runner

REGISTRY = "https://r.example.com:444"


def url_of(location: str, registry: str = REGISTRY, *, plain_http: bool = False) -> str:
    """Return the URL that a client would ask for a Location."""

    async def ask() -> str:
        client = RegistryClient(registry_place(f"{registry}/x"), [], 1, plain_http=plain_http)
        try:
            return client._url(location)  # noqa: SLF001 - requests to other machines can't be made
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x/blobs/uploads/1?a=%2F", f"{REGISTRY}/v2/x/blobs/uploads/1?a=%2F"),
        ("https://storage.example.com/1", "https://storage.example.com/1"),
        # A registry that doesn't know of the TLS before it.
        ("http://r.example.com/v2/1", f"{REGISTRY}/v2/1"),
    ],
)
def test_a_location_is_followed(location: str, expected: str) -> None:
    """With TLS, whatever it says, if it leads to the registry."""
    assert url_of(location) == expected


@pytest.mark.parametrize(
    "location",
    [
        *("http://storage.example.com/1", "http://127.0.0.1:9/1", "https://127.0.0.1:9/1"),
        *("ftp://r/1", "up/1", "", "https://u:p@r.example.com:444/1", "https://r/\x01", "http://["),
        *("https://r.example.com:444\\@x/1", "https://a..b/1", "https://r/\udcff"),
    ],
)
def test_a_location_without_tls_is_not_followed(location: str) -> None:
    """Nor is one that is no address. What listens on this machine alone is for registries here."""
    with pytest.raises(TransferError, match="sends this on to"):
        url_of(location)


def test_a_registry_here_leads_to_storage_here() -> None:
    """As the local one does."""
    place = "http://127.0.0.1:9/1"
    assert url_of(place, "http://localhost:5000") == place


def test_with_plain_http_a_redirect_may_have_no_tls() -> None:
    """Whoever allows http for the registry allows it for its storage."""
    place = "http://storage.example.com/1"
    assert url_of(place, "r.example.com", plain_http=True) == place


def test_an_upload_at_another_server_takes_no_login_there(run: Runner) -> None:
    """Some registries have uploads sent to their storage."""
    content = Content()
    content.tag(content.image(noise(100_000)))
    run.log_in()
    with run_whole_registry() as storage:
        start = run.fake._start  # noqa: SLF001 - it has no other hook

        def elsewhere(request: web.BaseRequest, body: bytes) -> web.Response:
            response = start(request, body)
            if response.status == 202:
                storage.sessions |= run.fake.sessions
                response.headers["Location"] = storage.url + response.headers["Location"]
            return response

        run.fake._start = elsewhere  # type: ignore[method-assign]  # noqa: SLF001 - likewise
        image = f"oci:{content.folder(run.folder / 'image')}"
        words = ("push", image, f"{run.host}/x:1", "--chunk-size", "65536")
        refused = run(*words, fails=True)
    assert "to push manifest 1 is refused" in refused.err  # what is there, is not here
    assert storage.authorizations == {""}
    assert len(storage.blobs) == 1


def test_an_answer_without_end_is_not_read_to_its_end(run: Runner) -> None:
    """Nothing that isn't a layer is larger than the largest manifest."""

    def manifest(*_: object) -> web.Response:
        return web.Response(body=b" " * (LARGEST_MANIFEST + 2), content_type="x/y")

    with mock.patch.object(run.fake, "_manifest", manifest):
        refused = run("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy", fails=True)
    assert f"the manifest has more than {LARGEST_MANIFEST} bytes" in refused.err


def test_a_registry_that_leads_on_to_another_is_pulled_from(run: Runner) -> None:
    """As some registries do with every request, `/v2/` and manifests too; no login goes along."""
    content = Content()
    content.tag(content.image(noise(100)))
    run("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")
    run.fake.authorizations.clear()

    async def lead_on(request: web.BaseRequest) -> web.Response:
        if "Authorization" not in request.headers and request.path == "/v2/":
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        return web.Response(status=307, headers={"Location": f"{run.fake.url}{request.path_qs}"})

    with run_handler(lead_on) as url:
        host = url.removeprefix("http://")
        run.log_in(host=host)
        run.fake.scopes = None
        run("pull", f"{host}/x:1", f"oci:{run.folder}/copy")
    assert run.fake.authorizations == {""}
    body = (run.folder / "copy/blobs" / content.entries[0]["digest"].replace(":", "/")).read_bytes()
    assert body == content.stored[content.entries[0]["digest"]]


def test_a_redirect_without_end_is_given_up(run: Runner) -> None:
    """In one line."""
    content = Content()
    content.tag(content.image(noise(100)))
    run("push", f"oci:{content.folder(run.folder / 'image')}", f"{run.host}/x:1")

    async def lead_on(request: web.BaseRequest, _: bytes) -> web.Response:
        return web.Response(status=307, headers={"Location": request.path})

    with mock.patch.object(run.fake, "_bytes", lead_on):
        refused = run("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy", fails=True)
    assert "leads from one address to the next without end" in refused.err


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_has_to_be_trusted(*, trusted: bool, run: Runner, tmp_path: Path) -> None:
    """One that isn't ends the command at once; $SSL_CERT_FILE names more authorities."""
    pem = certificate(tmp_path, 10)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    ports: list[int] = []

    async def start() -> Callable[[], Awaitable[None]]:
        server = web.Server(run.fake.answer, access_log=None)
        port, end = await listen(server, context)
        ports.append(port)
        return end

    with in_background(start):
        done = in_a_process(
            *("pull", f"https://localhost:{ports[0]}/x:1", f"oci:{tmp_path}/copy"),
            **({"SSL_CERT_FILE": str(pem)} if trusted else {}),
        )
    told = "is refused (status 404)" if trusted else "is not trusted"
    assert done.returncode == 1
    assert told in done.stderr


def test_a_proxy_of_the_environment_is_used(run: Runner) -> None:
    """For other machines, and for none that $NO_PROXY names."""
    words = ("pull", "http://r.example.invalid/x:1", "oci:copy", "--plain-http")
    done = in_a_process(*words, HTTP_PROXY=run.fake.url, http_proxy=run.fake.url)
    assert "is refused (status 404)" in done.stderr
    assert ("GET", "/v2/") in run.fake.log


def in_a_process(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, whose environment is read at its start."""
    return subprocess.run(
        [sys.executable, "-m", "moorage", *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("what", ["blobs", "manifests", "uploads"])
def test_a_location_that_is_no_address_is_an_error_of_one_line(what: str, run: Runner) -> None:
    """For any kind of request."""
    content = Content()
    content.tag(content.image(noise(100)))
    image = f"oci:{content.folder(run.folder / 'image')}"
    run("push", image, f"{run.host}/x:1")

    def upload(*_: object) -> web.Response:
        return web.Response(status=202, headers={"Location": "http://["})

    def manifest(*_: object) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://["})

    async def blob(*_: object) -> web.Response:
        return manifest()

    hook, answer, words = {
        "manifests": ("_manifest", manifest, ("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy")),
        "blobs": ("_bytes", blob, ("pull", f"{run.host}/x:1", f"oci:{run.folder}/copy")),
        "uploads": ("_upload", upload, ("push", image, f"{run.host}/y:1")),
    }[what]
    with mock.patch.object(run.fake, hook, answer):
        refused = run(*words, fails=True)
    assert "sends this on to what is no address" in refused.err


@pytest.mark.parametrize(
    ("error", "advised"),
    [
        ({"code": "DENIED", "message": "nobody has a right to such access"}, True),
        ({"code": "DENIED", "message": "no", "detail": [{"Type": "repository"}]}, True),
        ({"code": "UNAUTHORIZED", "message": "no"}, True),
        ({"message": "no"}, True),
        (None, True),
        ({"code": "DENIED", "message": "ask for access", "detail": {"quota": "small"}}, False),
        ({"code": "DENIED", "message": "no", "detail": {"rule": "releases", "tag": "v1"}}, False),
        ({"code": "QUOTA_EXCEEDED", "message": "permission to write denied"}, False),
        ({"code": ["DENIED"], "message": "no"}, False),
    ],
)
def test_a_missing_right_says_whom_to_ask(
    error: dict[str, object] | None, *, advised: bool
) -> None:
    """Other 403s have their own advice; code and detail distinguish them."""
    errors = [] if error is None else [error]
    answer = UpstreamResponse(403, CIMultiDict(), json.dumps({"errors": errors}).encode())
    client = mock.Mock(spec=RegistryClient, place=registry_place("r.example/team/app:v1"))
    told = str(refusal(client, answer, "to push v1"))
    assert told.startswith("r.example/team/app: to push v1 is refused (status 403")
    assert told.endswith(": ask the registry's owner for that right") is advised
