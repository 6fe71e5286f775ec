"""Listing and deleting by real clients: tags, repositories, manifests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.clients.adapters.copying import Skopeo
from tests.clients.contents import read_layout
from tests.clients.tools import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Workspace
    from tests.clients.daemons import RegistryProcess

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

TAGS = ["a", "b", "c"]


@pytest.fixture
def pushed(
    registry: RegistryProcess, image: Callable[[str], Path], repository: str, workspace: Workspace
) -> Path:
    """Push one image under three tags and give its layout."""
    layout = image("two-platforms")
    for tag in TAGS:
        Skopeo(workspace).push(layout, f"{registry.proxy_host}/{repository}:{tag}")
    return layout


@pytest.fixture
def name(registry: RegistryProcess, repository: str) -> str:
    """Give the repository's name with its host before it, as clients write it."""
    return f"{registry.proxy_host}/{repository}"


@pytest.fixture
def regctl(registry: RegistryProcess, workspace: Workspace) -> Callable[..., str]:
    """Give a runner of regctl that knows the registry speaks plain HTTP."""
    host = f"reg={registry.proxy_host},tls=disabled"
    return lambda *arguments: workspace.run("regctl", "--host", host, *arguments)


def skopeo_tags(workspace: Workspace, name: str) -> list[str]:
    """Tags that skopeo lists."""
    shown = workspace.run("skopeo", "list-tags", "--tls-verify=false", f"docker://{name}")
    tags: list[str] = json.loads(shown)["Tags"]
    return tags


@pytest.mark.usefixtures("pushed")
def test_every_client_lists_the_tags_that_were_pushed(
    name: str, workspace: Workspace, regctl: Callable[..., str]
) -> None:
    """Crane, skopeo, regctl and oras each list all tags in order, and no other."""
    assert skopeo_tags(workspace, name) == TAGS
    assert workspace.run("crane", "ls", "--insecure", name).split() == TAGS
    assert regctl("tag", "ls", name).split() == TAGS
    assert workspace.run("oras", "repo", "tags", "--plain-http", name).split() == TAGS


@pytest.mark.usefixtures("pushed")
def test_the_catalog_names_the_repository(
    registry: RegistryProcess, repository: str, workspace: Workspace, regctl: Callable[..., str]
) -> None:
    """Crane, regctl and oras find a repository in the catalog once something was pushed to it."""
    host = registry.proxy_host
    assert repository in workspace.run("crane", "catalog", "--insecure", host).split()
    assert repository in regctl("repo", "ls", host).split()
    assert repository in workspace.run("oras", "repo", "ls", "--plain-http", host).split()


def test_regctl_removes_one_tag_and_leaves_the_manifest(
    name: str, pushed: Path, workspace: Workspace, regctl: Callable[..., str]
) -> None:
    """After `regctl tag rm` the tag is gone, and the other tags still pull the whole index."""
    regctl("tag", "rm", f"{name}:b")

    assert skopeo_tags(workspace, name) == ["a", "c"]
    assert Skopeo(workspace).pull(f"{name}:c") == read_layout(pushed)


def test_crane_deletes_one_tag_and_leaves_the_manifest(
    name: str, pushed: Path, workspace: Workspace
) -> None:
    """`crane delete` of a tag removes that tag; the manifest still answers to its digest."""
    workspace.run("crane", "delete", "--insecure", f"{name}:a")

    assert skopeo_tags(workspace, name) == ["b", "c"]
    root = read_layout(pushed).root
    assert workspace.run("crane", "digest", "--insecure", f"{name}@{root}").strip() == root


def test_crane_deletes_a_manifest_with_all_its_tags(
    name: str, pushed: Path, workspace: Workspace
) -> None:
    """`crane delete` of a digest removes the manifest and every tag that named it."""
    root = read_layout(pushed).root

    workspace.run("crane", "delete", "--insecure", f"{name}@{root}")

    assert workspace.run("crane", "ls", "--insecure", name).split() == []
    with pytest.raises(ClientError, match=r"MANIFEST_UNKNOWN|404"):
        workspace.run("crane", "manifest", "--insecure", f"{name}@{root}")


@pytest.mark.usefixtures("pushed")
def test_skopeo_deletes_what_a_tag_names(name: str, workspace: Workspace) -> None:
    """`skopeo delete` of a tag deletes the manifest behind it, so its other tags go as well."""
    workspace.run("skopeo", "delete", "--tls-verify=false", f"docker://{name}:a")

    assert workspace.run("crane", "ls", "--insecure", name).split() == []
    with pytest.raises(ClientError):
        Skopeo(workspace).pull(f"{name}:b")
