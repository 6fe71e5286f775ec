"""A registry that asks for a login, what its owner does, and what each client says of a refusal.

It never verifies anything itself, and makes API tokens by the owner's own commands.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit

import pytest

from tests.clients import daemons, images, recipes, tools
from tests.clients.adapters.base import temporary_workspace
from tests.clients.adapters.copying import Skopeo
from tests.clients.tools import ClientError
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from tests.clients.daemons import RegistryProcess

PRIVATE, PUBLIC, HIDDEN = "clients/kept", "open/kept", "other/kept"
"""Repositories that hold an image under the tag 1."""

_MOORAGE = str(Path(sys.executable).with_name("moorage"))
_DENIED = "denied: this login may not do that here"
_WRONG = "the user name, password or token is not valid"

# oras-py raises these where others end with an error.
REFUSED = (ClientError, ValueError)


@dataclass(frozen=True)
class Says:
    """What one client says, as regular expressions that its output holds."""

    wrong: str
    """To a password that is none. Where it names a login, the client's login itself fails."""
    nobody: str
    """To somebody who has not logged in, where that is needed."""
    denied: str
    """To somebody who may not do this."""


_CONTAINERS = Says(r"\blogin .*invalid username/password", "unauthorized", _DENIED)
SAYS = {
    "docker": Says(rf"\blogin .*unauthorized: {_WRONG}", "unauthorized", _DENIED),
    "podman": _CONTAINERS,
    "buildah": _CONTAINERS,
    "skopeo": _CONTAINERS,
    "crane": Says(
        f"UNAUTHORIZED: {_WRONG}",
        "UNAUTHORIZED: authentication required|401 Unauthorized",
        "DENIED: this login may not do that here",
    ),
    "regctl": Says(
        r"\blogin .*failed to ping registry \S+ unauthorized",
        "unauthorized",
        r"unauthorized \[http 403\].*DENIED",
    ),
    "oras": Says(
        rf"\blogin .*unauthorized: {_WRONG}",
        "unauthorized: authentication required|401: Unauthorized",
        _DENIED,
    ),
    "ctr": Says(
        "failed to fetch oauth token: unexpected status: 401", "401 Unauthorized", "403 Forbidden"
    ),
    "ctr2": Says("401 Unauthorized", "401 Unauthorized", "403 Forbidden"),
    "oras-py": Says(": Unauthorized", "Unauthorized|UNAUTHORIZED", "DENIED"),
}


@dataclass(frozen=True)
class RegistryOwner:
    """The owner of a registry with access control."""

    registry: RegistryProcess
    token: str
    """An API token that may do everything."""

    def make(self, name: str, *grants: str) -> str:
        """Make an API token and return it."""
        granted = [word for grant in grants for word in ("--grant", grant)]
        return self._run("token", "create", name, *granted).strip()

    def revoke(self, name: str) -> None:
        """End an API token."""
        self._run("token", "revoke", name)

    def publish(self, repository: str) -> None:
        """Let anybody pull from a repository."""
        self._run("public", repository)

    def _run(self, *words: str) -> str:
        return tools.run(_MOORAGE, *words, "--aws-endpoint", self.registry.aws)


@dataclass(frozen=True)
class World:
    """A registry with one image in three repositories, and API tokens for people."""

    owner: RegistryOwner
    writer: str
    """May pull, push and delete below clients/."""
    pusher: str
    """May pull and push there."""
    reader: str
    """May pull there."""

    @property
    def host(self) -> str:
        """Where clients go: the proxy."""
        return self.owner.registry.proxy_host


@contextmanager
def furnished() -> Iterator[World]:
    """Run such a registry with an image in it until the block ends."""
    with temporary_workspace() as workspace:
        file = workspace.fresh("token")
        with daemons.start_moorage("--auth", "--admin-token-file", str(file)) as running:
            owner = RegistryOwner(running, file.read_text().strip())
            skopeo = Skopeo(workspace)
            host = owner.registry.gateway_host
            skopeo.log_in(host, "admin", owner.token)
            for repository in (PRIVATE, PUBLIC, HIDDEN):
                skopeo.push(recipes.layout("tiny"), f"{host}/{repository}:1")
            owner.publish(PUBLIC)
            yield World(
                owner,
                writer=owner.make("writer", "clients/**:pull,push,delete"),
                pusher=owner.make("pusher", "clients/**:pull,push"),
                reader=owner.make("reader", "clients/**:pull"),
            )


def refused(says: str) -> pytest.RaisesExc[ClientError | ValueError]:
    """Expect that a client fails and says so; its command line comes before its output."""
    return pytest.raises(REFUSED, match=re.compile(says, re.DOTALL))


@dataclass(frozen=True)
class Plain:
    """A client that says with each request who it is, whether it was asked or not."""

    url: str
    authorization: str

    @classmethod
    def basic(cls, url: str, password: str, user: str = "plain") -> Plain:
        """Say it by Basic."""
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(url, f"Basic {encoded}")

    def bearer(self, scope: str) -> Plain:
        """Fetch a token, and say it by that from then on."""
        _, _, body = self.ask("GET", f"/v2/_token?{urlencode({'scope': scope})}")
        return replace(self, authorization=f"Bearer {json.loads(body)['token']}")

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = ""
    ) -> tuple[int, Message, bytes]:
        """Send a request; ``path`` may be a whole URL, ``kind`` is the body's media type."""
        whole = urljoin(self.url, path)
        target = urlsplit(whole)._replace(scheme="", netloc="").geturl()
        headers = {"Authorization": self.authorization, **({"Content-Type": kind} if kind else {})}
        return request(whole, method, target, body, headers)

    def manifest(self, repository: str, reference: str) -> tuple[int, Message, bytes]:
        """Ask for a manifest."""
        return self.ask("GET", f"/v2/{repository}/manifests/{reference}")

    def push(self, layout: Path, repository: str, tag: str) -> list[int]:
        """Push the image of a layout blob by blob; return the statuses."""
        root = images.root_of(layout)
        document = images.read_json(layout, root)
        statuses = []
        for blob in (document["config"], *document["layers"]):
            opened, headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
            place = headers.get("Location", "")
            query = f"{'&' if '?' in place else '?'}{urlencode({'digest': blob['digest']})}"
            content = images.blob_path(layout, blob["digest"]).read_bytes()
            closed, *_ = self.ask("PUT", place + query, content, "application/octet-stream")
            statuses += [opened, closed]
        content = images.blob_path(layout, root["digest"]).read_bytes()
        path = f"/v2/{repository}/manifests/{tag}"
        return [*statuses, self.ask("PUT", path, content, root["mediaType"])[0]]

    def pull(self, repository: str, tag: str) -> dict[str, bytes]:
        """Pull an image's manifest and blobs by the digests of what came."""
        manifest = self.manifest(repository, tag)[2]
        document = json.loads(manifest)
        digests = [blob["digest"] for blob in (document["config"], *document["layers"])]
        blobs = [self.ask("GET", f"/v2/{repository}/blobs/{each}")[2] for each in digests]
        return {f"sha256:{sha256(each).hexdigest()}": each for each in (manifest, *blobs)}
