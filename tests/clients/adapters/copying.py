"""Clients that copy between a layout and a registry without a store: skopeo, crane, regctl, oras.

They keep digests, and are told to where it is not their default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clients.contents import Contents, read_layout
from tests.clients.images import TAG

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.adapters.base import Workspace

CHUNK = "4194304"


class Skopeo:
    """Debian's skopeo, which uploads a blob in one PATCH of any size."""

    keeps_digests = True
    _COPY = ("--insecure-policy", "copy", "--all", "--preserve-digests")

    def __init__(self, workspace: Workspace) -> None:
        """Work in ``workspace``."""
        self._workspace = workspace

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in, which it does by asking the registry."""
        words = ("login", "--tls-verify=false", "--username", user, "--password-stdin", host)
        self._workspace.run("skopeo", *words, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""
        target = f"docker://{reference}"
        self._run(*self._COPY, "--dest-tls-verify=false", f"oci:{layout}:{TAG}", target)

    def pull(self, reference: str) -> Contents:
        """Pull into a layout that holds nothing."""
        into = self._workspace.fresh("skopeo")
        source = f"docker://{reference}"
        self._run(*self._COPY, "--src-tls-verify=false", source, f"oci:{into}:{TAG}")
        return read_layout(into)

    def _run(self, *arguments: str) -> None:
        self._workspace.run("skopeo", *arguments)


class Crane:
    """go-containerregistry's crane, which streams a blob in one PATCH."""

    keeps_digests = True

    def __init__(self, workspace: Workspace) -> None:
        """Work in ``workspace``."""
        self._workspace = workspace

    def log_in(self, host: str, user: str, password: str) -> None:
        """Keep a login for later; the registry isn't asked."""
        words = ("auth", "login", "--insecure", "--username", user, "--password-stdin", host)
        self._workspace.run("crane", *words, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""
        # Not --index: that pushes the layout's index.json itself, as an index around ours.
        self._workspace.run("crane", "push", "--insecure", layout, reference)

    def pull(self, reference: str) -> Contents:
        """Pull into a layout that holds nothing."""
        into = self._workspace.fresh("crane")
        self._workspace.run("crane", "pull", "--insecure", "--format=oci", reference, into)
        return read_layout(into)


class Regctl:
    """regclient's regctl, which PUTs a blob whole, or in chunks when a host asks for them."""

    keeps_digests = True
    _HOST = ("--tls", "disabled", "--skip-check")

    def __init__(self, workspace: Workspace, *, chunked: bool = False) -> None:
        """Work in ``workspace``; ``chunked`` sends every blob above 4 MiB in 4 MiB chunks."""
        self._workspace = workspace
        self._chunks = ("--blob-max", CHUNK, "--blob-chunk", CHUNK) if chunked else ()

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in: the login is kept, and then the registry is asked."""
        self._set(host)
        words = ("registry", "login", "--user", user, "--pass-stdin", host)
        self._workspace.run("regctl", *words, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""
        self._copy(reference, f"ocidir://{layout}:{TAG}", reference)

    def pull(self, reference: str) -> Contents:
        """Pull into a layout that holds nothing."""
        into = self._workspace.fresh("regctl")
        self._copy(reference, reference, f"ocidir://{into}:{TAG}")
        return read_layout(into)

    def _copy(self, reference: str, source: str, target: str) -> None:
        self._set(reference.partition("/")[0])
        self._workspace.run("regctl", "image", "copy", source, target)

    def _set(self, host: str) -> None:
        self._workspace.run("regctl", "registry", "set", host, *self._HOST, *self._chunks)


class Oras:
    """The oras command, which PUTs a blob whole."""

    keeps_digests = True

    def __init__(self, workspace: Workspace) -> None:
        """Work in ``workspace``."""
        self._workspace = workspace

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in, which it does by asking the registry."""
        words = ("login", "--plain-http", "--username", user, "--password-stdin", host)
        self._workspace.run("oras", *words, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Push the image or index of an OCI layout."""
        source = f"{layout}:{TAG}"
        self._run("--from-oci-layout", source, "--to-plain-http", reference)

    def pull(self, reference: str) -> Contents:
        """Pull into a layout that holds nothing."""
        into = self._workspace.fresh("oras")
        self._run("--from-plain-http", reference, "--to-oci-layout", f"{into}:{TAG}")
        return read_layout(into)

    def _run(self, *arguments: str) -> None:
        self._workspace.run("oras", "cp", "--no-tty", *arguments)
