"""Listing and deleting by real clients: tags, repositories, manifests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.clients.contents import read_layout
from tests.clients.tools import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.daemons import RegistryProcess
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

TAGS = ["a", "b", "c"]


@pytest.fixture
def run(registry: RegistryProcess, workshop: Workshop) -> Callable[[str], str]:
    """Give a runner of command lines: {host}, and {name} of the repository with its host."""
    host = registry.proxy_host
    name = f"{host}/{workshop.repository}"
    return lambda line: workshop.workspace.run_line(line, host=host, name=name)


@pytest.fixture
def name(registry: RegistryProcess, workshop: Workshop) -> str:
    """Give the repository's name with its host before it, as clients write it."""
    return f"{registry.proxy_host}/{workshop.repository}"


@pytest.fixture
def pushed(name: str, workshop: Workshop) -> Path:
    """Push one image under three tags and give its layout."""
    layout = workshop.image("two-platforms")
    for tag in TAGS:
        workshop.skopeo.push(layout, f"{name}:{tag}")
    return layout


CRANE_TAGS = "crane ls --insecure {name}"
SKOPEO_TAGS = "skopeo list-tags --tls-verify=false docker://{name}"
REGCTL = "regctl --host reg={host},tls=disabled"


@pytest.mark.usefixtures("pushed")
def test_every_client_lists_the_tags_that_were_pushed(run: Callable[[str], str]) -> None:
    """Crane, skopeo, regctl and oras each list all tags in order, and no other."""
    assert json.loads(run(SKOPEO_TAGS))["Tags"] == TAGS
    for line in (CRANE_TAGS, f"{REGCTL} tag ls {{name}}", "oras repo tags --plain-http {name}"):
        assert run(line).split() == TAGS


@pytest.mark.usefixtures("pushed")
def test_the_catalog_names_the_repository(run: Callable[[str], str], workshop: Workshop) -> None:
    """Crane, regctl and oras find a repository in the catalog once something was pushed to it."""
    crane, oras = "crane catalog --insecure {host}", "oras repo ls --plain-http {host}"
    for line in (crane, f"{REGCTL} repo ls {{host}}", oras):
        assert workshop.repository in run(line).split()


def test_regctl_removes_one_tag_and_leaves_the_manifest(
    name: str, pushed: Path, run: Callable[[str], str], workshop: Workshop
) -> None:
    """After `regctl tag rm` the tag is gone, and the other tags still pull the whole index."""
    run(f"{REGCTL} tag rm {{name}}:b")
    assert json.loads(run(SKOPEO_TAGS))["Tags"] == ["a", "c"]
    assert workshop.skopeo.pull(f"{name}:c") == read_layout(pushed)


def test_crane_deletes_one_tag_and_leaves_the_manifest(
    pushed: Path, run: Callable[[str], str]
) -> None:
    """`crane delete` of a tag removes that tag; the manifest still answers to its digest."""
    run("crane delete --insecure {name}:a")
    assert json.loads(run(SKOPEO_TAGS))["Tags"] == ["b", "c"]
    root = read_layout(pushed).root
    assert run(f"crane digest --insecure {{name}}@{root}").strip() == root


def test_crane_deletes_a_manifest_with_all_its_tags(
    pushed: Path, run: Callable[[str], str]
) -> None:
    """`crane delete` of a digest removes the manifest and every tag that named it."""
    root = read_layout(pushed).root
    run(f"crane delete --insecure {{name}}@{root}")
    assert run(CRANE_TAGS).split() == []
    with pytest.raises(ClientError, match=r"MANIFEST_UNKNOWN|404"):
        run(f"crane manifest --insecure {{name}}@{root}")


@pytest.mark.usefixtures("pushed")
def test_skopeo_deletes_what_a_tag_names(
    name: str, run: Callable[[str], str], workshop: Workshop
) -> None:
    """`skopeo delete` of a tag deletes the manifest behind it, so its other tags go as well."""
    run("skopeo delete --tls-verify=false docker://{name}:a")
    assert run(CRANE_TAGS).split() == []
    with pytest.raises(ClientError):
        workshop.skopeo.pull(f"{name}:b")
