"""Clients that keep images in a store of their own: podman, buildah, docker, nerdctl, ctr.

Before each pull the store is fresh or emptied, so that every byte has to come from the registry.
"""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

from tests.clients.contents import Contents, read_directory, read_docker_archive, read_layout
from tests.clients.images import (
    INDEX,
    TAG,
    add_file,
    read_json,
    root_of,
    write_docker_archive,
)
from tests.clients.tools import ClientError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.adapters.base import Workspace


# Neither systemd nor a journal has to run.
_OWN_FLAGS = {
    "podman": ("--cgroup-manager=cgroupfs", "--events-backend=file", "--log-level=error"),
    "buildah": (),
}


class Containers:
    """podman or buildah: they unpack what they pull, and compress layers anew when they push."""

    keeps_digests = False

    def __init__(self, workspace: Workspace, name: str) -> None:
        """Work in ``workspace`` with the program called ``name``."""
        self._workspace = workspace
        self._name = name
        self._architectures: list[str] = []

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in, which they do by asking the registry."""
        words = ("login", "--tls-verify=false", "--username", user, "--password-stdin", host)
        self._workspace.run(self._name, *words, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Take an OCI layout into a store and push it from there."""
        store = self._workspace.fresh("store")
        self._architectures = _architectures(layout)
        source = f"oci:{layout}:{TAG}"
        target = f"docker://{reference}"
        insecure = "--tls-verify=false"
        if self._architectures:
            self._run(store, "manifest", "create", "moorage-list")
            self._run(store, "manifest", "add", "--all", "moorage-list", source)
            self._run(store, "manifest", "push", "--all", insecure, "moorage-list", target)
        else:
            taken = self._run(store, "pull", "--quiet", source).strip()
            self._run(store, "push", "--quiet", insecure, taken, target)

    def pull(self, reference: str) -> Contents:
        """Pull into a store that holds nothing, every platform of what was pushed last."""
        pulled = [self._pull_one(reference, name) for name in self._architectures or ["amd64"]]
        images = tuple(image for contents in pulled for image in contents.images)
        return Contents("", images)

    def _pull_one(self, reference: str, architecture: str) -> Contents:
        store = self._workspace.fresh("store")
        into = self._workspace.fresh("folder")
        flags = ("--quiet", "--tls-verify=false", "--arch", architecture)
        taken = self._run(store, "pull", *flags, f"docker://{reference}").strip()
        # Writing a folder puts each layer's tar together again from the unpacked files.
        self._run(store, "push", "--quiet", taken, f"dir:{into}")
        return read_directory(into)

    def _run(self, store: Path, *arguments: str) -> str:
        folders = ("--root", f"{store}/root", "--runroot", f"{store}/run")
        own = _OWN_FLAGS[self._name]
        return self._workspace.run(self._name, *folders, "--storage-driver=vfs", *own, *arguments)


class Docker:
    """docker, or nerdctl, which takes the same words.

    docker 20.10 compresses layers anew, and sends them of unknown size. docker 29 and nerdctl keep
    images in containerd.
    """

    keeps_digests = False

    def __init__(self, workspace: Workspace, *command: str) -> None:
        """Work in ``workspace``; ``command`` is the program, and where its daemon is."""
        self._workspace = workspace
        self._command = command

    def log_in(self, host: str, user: str, password: str) -> None:
        """Log in: the daemon asks the registry."""
        self._run("login", "--username", user, "--password-stdin", host, given=password)

    def push(self, layout: Path, reference: str) -> None:
        """Load an image into the daemon, push it, and remove it from the daemon."""
        archive = write_docker_archive(layout, self._workspace.fresh("archive.tar"), reference)
        self._run("load", "--quiet", "--input", str(archive))
        archive.unlink()
        try:
            self._run("push", "--quiet", reference)
        finally:
            self._remove_all()

    def pull(self, reference: str) -> Contents:
        """Pull into the daemon, which holds no image, save what came, and remove it."""
        if self._run("image", "ls", "--all", "--quiet").strip():
            raise ClientError("the daemon already holds images")
        saved = self._workspace.fresh("saved.tar")
        try:
            self._run("pull", "--quiet", reference)
            self._run("save", "--output", str(saved), reference)
        finally:
            self._remove_all()
        return read_docker_archive(saved)

    def _remove_all(self) -> None:
        self._run("image", "prune", "--all", "--force")

    def _run(self, *arguments: str, given: str = "") -> str:
        return self._workspace.run(*self._command, *arguments, given=given)


class Ctr:
    """containerd's ctr, which PUTs a blob whole and moves manifests as they are."""

    keeps_digests = True

    def __init__(
        self, workspace: Workspace, address: str, program: str = "ctr", export: tuple[str, ...] = ()
    ) -> None:
        """Work in ``workspace`` with the containerd at socket ``address``.

        ``export`` has further options of its `images export`.
        """
        self._workspace = workspace
        self._address = address
        self._program = program
        self._export = export
        self._user: tuple[str, ...] = ()

    def log_in(self, host: str, user: str, password: str) -> None:
        """Say from now on who it is: it keeps no logins."""
        del host
        self._user = ("--user", f"{user}:{password}")

    def push(self, layout: Path, reference: str) -> None:
        """Import an image or index, push it, and remove it from containerd."""
        archive = named_archive(layout, self._workspace.fresh("archive.tar"), reference)
        self._images("import", "--no-unpack", "--all-platforms", str(archive))
        archive.unlink()
        try:
            self._images("push", "--plain-http", *self._user, reference)
        finally:
            self._images("rm", "--sync", reference)

    def pull(self, reference: str) -> Contents:
        """Pull into containerd, which holds nothing, export what came, and remove it."""
        if self._run("content", "ls", "--quiet").strip():
            raise ClientError("containerd already holds content")
        flags = ("--plain-http", "--all-platforms", "--snapshotter", "native")
        self._images("pull", *flags, *self._user, reference)
        exported = self._workspace.fresh("exported.tar")
        self._images("export", *self._export, "--all-platforms", str(exported), reference)
        self._images("rm", "--sync", reference)
        into = self._workspace.fresh("ctr")
        with tarfile.open(exported) as archive:
            archive.extractall(into, filter="data")
        exported.unlink()
        return read_layout(into)

    def _images(self, *arguments: str) -> None:
        self._run("images", *arguments)

    def _run(self, *arguments: str) -> str:
        return self._workspace.run(self._program, "--address", self._address, *arguments)


def _architectures(layout: Path) -> list[str]:
    """Architectures of a layout's index; none when it holds a single image."""
    root = root_of(layout)
    if root["mediaType"] != INDEX:
        return []
    return [entry["platform"]["architecture"] for entry in read_json(layout, root)["manifests"]]


def named_archive(layout: Path, archive: Path, reference: str) -> Path:
    """Write a layout as a tar whose image has the full name that containerd goes by."""
    index = json.loads((layout / "index.json").read_text())
    index["manifests"][0]["annotations"] = {"io.containerd.image.name": reference}
    with tarfile.open(archive, "w") as tar:
        tar.add(layout / "oci-layout", "oci-layout")
        tar.add(layout / "blobs", "blobs")
        add_file(tar, "index.json", json.dumps(index).encode())
    return archive
