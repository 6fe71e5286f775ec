"""oras-py, a client in Python: whole blobs in one PUT, or chunks with Content-Range.

It knows artifacts, not layouts: an image's config and layers are pushed as an artifact's.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.clients.contents import Contents, read_directory
from tests.clients.images import CONFIG, blob_path, read_json, root_of

if TYPE_CHECKING:
    from pathlib import Path

    from oras.client import OrasClient

    from tests.clients.adapters.base import Workspace

_CHUNK = 4 << 20


class OrasPython:
    """oras-py's OrasClient, used as its documentation shows."""

    keeps_digests = False

    def __init__(self, workspace: Workspace, *, chunked: bool = False) -> None:
        """Work in ``workspace``; ``chunked`` sends layers in 4 MiB chunks."""
        self._workspace = workspace
        self._chunked = chunked
        self._user: tuple[str, str] | None = None

    def log_in(self, host: str, user: str, password: str) -> None:
        """Say from now on who it is; the registry isn't asked."""
        self._user = (user, password)
        self._client(host)

    def push(self, layout: Path, reference: str) -> None:
        """Push an image's config and layers, as files with their media types."""
        manifest = read_json(layout, root_of(layout))
        self._client(reference).push(
            target=reference,
            files=[
                f"{blob_path(layout, layer['digest'])}:{layer['mediaType']}"
                for layer in manifest["layers"]
            ],
            manifest_config=f"{blob_path(layout, manifest['config']['digest'])}:{CONFIG}",
            disable_path_validation=True,
            do_chunked=self._chunked,
            chunk_size=_CHUNK,
            quiet=True,
        )

    def pull(self, reference: str) -> Contents:
        """Pull layers and config into a folder that holds nothing."""
        into = self._workspace.fresh("oras-py")
        client = self._client(reference)
        manifest = client.get_manifest(client.get_container(reference))
        # Not its pull(): that unpacks a gzipped layer, and the bytes that came would be lost.
        for blob in (manifest["config"], *manifest["layers"]):
            target = into / blob["digest"].partition(":")[2]
            client.download_blob(reference, blob["digest"], str(target))
        # It hands the manifest over parsed, so the digest of its bytes is not known here.
        (into / "manifest.json").write_text(json.dumps(manifest))
        return read_directory(into)

    def _client(self, reference: str) -> OrasClient:
        from oras.client import OrasClient  # noqa: PLC0415  of an extra that other tests do without

        host = reference.partition("/")[0]
        if self._user is None:
            return OrasClient(hostname=host, insecure=True)
        # Its other way keeps the first token that it gets, which is for no repository.
        client = OrasClient(hostname=host, insecure=True, auth_backend="basic")
        user, password = self._user
        kept = str(self._workspace.fresh("login"))
        client.login(username=user, password=password, hostname=host, config_path=kept)
        return client
