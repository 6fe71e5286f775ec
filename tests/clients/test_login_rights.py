"""Who logged in may delete, list and copy what was granted, and no more: by real clients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients import tools
from tests.clients.images import root_of
from tests.clients.logins import HIDDEN, PRIVATE, PUBLIC, Plain, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Client, Workspace
    from tests.clients.logins import World

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Deletion:
    """A way to delete; ``{name}`` is the repository with its host, ``{digest}`` the image's."""

    client: str
    words: tuple[str, ...]
    leaves_tag: bool = True
    """Whether the tag is as it was after it has been refused."""


DELETIONS = {
    "crane-tag": Deletion("crane", ("crane", "delete", "--insecure", "{name}:1")),
    "crane-digest": Deletion("crane", ("crane", "delete", "--insecure", "{name}@{digest}")),
    # Refused, regctl tries what deletes a tag elsewhere: an empty image in its place, and delete
    # that. Whoever may push may do the first half.
    "regctl-tag": Deletion("regctl", ("regctl", "tag", "rm", "{name}:1"), leaves_tag=False),
    "regctl-digest": Deletion("regctl", ("regctl", "manifest", "rm", "{name}@{digest}")),
    "oras": Deletion("oras", ("oras", "manifest", "delete", "--force", "--plain-http", "{name}:1")),
    "skopeo": Deletion("skopeo", ("skopeo", "delete", "--tls-verify=false", "docker://{name}:1")),
}


@pytest.mark.parametrize("way", DELETIONS)
def test_only_who_may_delete_deletes(  # noqa: PLR0913  fixtures, not options
    way: str,
    world: World,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
    workspace: Workspace,
) -> None:
    """Who may push and not delete is denied, and nothing is gone; who may delete deletes."""
    row = DELETIONS[way]
    host = world.host
    layout = image("tiny")
    digest = root_of(layout)["digest"]
    words = [word.format(name=f"{host}/{repository}", digest=digest) for word in row.words]
    plain = Plain.basic(world.owner.registry.gateway, world.reader)
    using = client(row.client)

    using.log_in(host, f"pusher-{way}", world.pusher)
    using.push(layout, f"{host}/{repository}:1")
    with refused("(?i)denied"):
        workspace.run(*words)
    assert plain.manifest(repository, digest).status == 200
    tagged = plain.manifest(repository, "1").headers["docker-content-digest"]
    assert (tagged == digest) is row.leaves_tag

    using.log_in(host, f"writer-{way}", world.writer)
    workspace.run(*words)
    assert plain.manifest(repository, "1").status == 404


LISTS = {
    "crane": (("crane", "catalog", "--insecure"), ("crane", "ls", "--insecure")),
    "regctl": (("regctl", "repo", "ls"), ("regctl", "tag", "ls")),
    "oras": (("oras", "repo", "ls", "--plain-http"), ("oras", "repo", "tags", "--plain-http")),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_show_what_may_be_seen(
    name: str, world: World, client: Callable[[str], Client], workspace: Workspace
) -> None:
    """A reader's catalog has what it may pull, and no tags of another; an admin's has all."""
    repositories, tags = LISTS[name]
    host = world.host
    using = client(name)

    using.log_in(host, f"lists-{name}", world.reader)
    shown = set(workspace.run(*repositories, host).split())
    assert shown >= {PRIVATE, PUBLIC}
    assert all(each == PUBLIC or each.startswith("clients/") for each in shown)
    assert workspace.run(*tags, f"{host}/{PRIVATE}").split() == ["1"]
    with refused("(?i)denied"):
        workspace.run(*tags, f"{host}/{HIDDEN}")

    using.log_in(host, f"lists-{name}", world.owner.token)
    assert set(workspace.run(*repositories, host).split()) >= {PRIVATE, PUBLIC, HIDDEN}


def test_crane_mounts_what_both_grants_allow(
    world: World, client: Callable[[str], Client], workspace: Workspace
) -> None:
    """Copied between two repositories a layer is mounted; what may not be pulled is not copied."""
    copier = world.owner.make("copier", f"{PRIVATE}:pull", "copies/**:pull,push")
    host = world.host
    client("crane").log_in(host, "copier", copier)
    # It tells of a mount on its standard error.
    program = tools.program("crane") or "crane"
    copy = ("sh", "-c", '"$@" 2>&1', "sh", program, "copy", "--insecure")

    told = workspace.run(*copy, f"{host}/{PRIVATE}:1", f"{host}/copies/one:1")

    assert "mounted blob" in told
    assert "pushed blob" not in told
    with refused("DENIED"):
        workspace.run(*copy, f"{host}/{HIDDEN}:1", f"{host}/copies/two:1")
