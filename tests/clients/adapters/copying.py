"""Clients that copy between a layout and a registry without a store; `moorage` is one of them.

They keep digests, and are told to where it is not their default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.contents import Contents, read_layout
from tests.clients.images import TAG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.adapters.base import Workspace

_SKOPEO = "skopeo --insecure-policy copy --all --preserve-digests"
COPIES = {
    "skopeo": f"{_SKOPEO} --src-tls-verify=false --dest-tls-verify=false"
    " docker://{source} docker://{target}",
    "crane": "crane copy --insecure {source} {target}",
    "regctl": "regctl --host reg={host},tls=disabled image copy {source} {target}",
    "oras": "oras cp --from-plain-http --to-plain-http {source} {target}",
    "moorage": "moorage copy {source} {target}",
}
"""The command lines that copy from one repository of a registry to another."""


class CopyingClient:
    """A client by its command lines: {layout}, {tag} and {reference} stand for what is copied."""

    keeps_digests = True
    _log_in: str
    _push: str
    _pull: str

    def __init__(self, workspace: Workspace) -> None:
        """Work in ``workspace``."""
        self._workspace = workspace

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in; all but crane ask the registry."""
        self._run(self._log_in, password, host=host, user=user)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""
        self._copy(self._push, layout, reference)

    def pull(self, reference: str) -> Contents:
        """Pull into a layout that holds nothing."""
        into = self._workspace.fresh("layout")
        self._copy(self._pull, into, reference)
        return read_layout(into)

    def _copy(self, line: str, layout: Path, reference: str) -> None:
        host = reference.partition("/")[0]
        self._run(line, host=host, layout=layout, tag=TAG, reference=reference)

    def _run(self, line: str, given: str = "", **values: object) -> None:
        self._workspace.run_line(line, given, **values)


class Skopeo(CopyingClient):
    """Debian's skopeo, which uploads a blob in one PATCH of any size."""

    _log_in = "skopeo login --tls-verify=false --username {user} --password-stdin {host}"
    _push = f"{_SKOPEO} --dest-tls-verify=false oci:{{layout}}:{{tag}} docker://{{reference}}"
    _pull = f"{_SKOPEO} --src-tls-verify=false docker://{{reference}} oci:{{layout}}:{{tag}}"


class Crane(CopyingClient):
    """go-containerregistry's crane, which streams a blob in one PATCH."""

    _log_in = "crane auth login --insecure --username {user} --password-stdin {host}"
    # Not --index: that pushes the layout's index.json itself, as an index around ours.
    _push = "crane push --insecure {layout} {reference}"
    _pull = "crane pull --insecure --format=oci {reference} {layout}"


class Regctl(CopyingClient):
    """regclient's regctl, which PUTs a blob whole, or in chunks when a host asks for them."""

    _log_in = "regctl registry login --user {user} --pass-stdin {host}"
    _push = "regctl image copy ocidir://{layout}:{tag} {reference}"
    _pull = "regctl image copy {reference} ocidir://{layout}:{tag}"
    _chunks = ""

    def _run(self, line: str, given: str = "", **values: object) -> None:
        host = values["host"]
        self._workspace.run_line(
            f"regctl registry set {host} --tls disabled --skip-check {self._chunks}"
        )
        super()._run(line, given, **values)


class ChunkedRegctl(Regctl):
    """regctl that sends every blob above 4 MiB in 4 MiB chunks."""

    _chunks = "--blob-max 4194304 --blob-chunk 4194304"


class Oras(CopyingClient):
    """The oras command, which PUTs a blob whole."""

    _log_in = "oras login --plain-http --username {user} --password-stdin {host}"
    _push = "oras cp --no-tty --from-oci-layout {layout}:{tag} --to-plain-http {reference}"
    _pull = "oras cp --no-tty --from-plain-http {reference} --to-oci-layout {layout}:{tag}"


class Moorage(CopyingClient):
    """The command of this project, which sends chunks and has no login of its own."""

    _log_in = Skopeo._log_in  # noqa: SLF001 - it reads the logins that others keep
    _push = "moorage push oci:{layout}:{tag} {reference}"
    _pull = "moorage pull {reference} oci:{layout}:{tag}"
