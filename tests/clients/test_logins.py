"""Every client logs in as it does elsewhere, and one that does not is refused what is private.

The registry has access control. Clients log in by their own commands with an API token as the
password; the user name is anything. Who is logged in may push, pull, delete, list and copy what was
granted, and no more.
"""

from __future__ import annotations

import string
import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import generate
from tests.clients import recipes
from tests.clients.contents import read_layout
from tests.clients.images import root_of
from tests.clients.logins import HIDDEN, PRIVATE, PUBLIC, SAYS, Plain, refused

if TYPE_CHECKING:
    from tests.clients.adapters.base import Client
    from tests.clients.logins import World
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

AT_ONCE = 20

DOORS = ("proxy", "gateway")
ROWS = [
    *((name, door) for name in SAYS for door in DOORS),
    *(
        pytest.param(name, door, marks=pytest.mark.nightly)
        for name in ("docker29", "nerdctl")
        for door in DOORS
    ),
]


@pytest.mark.parametrize(("name", "door"), ROWS)
def test_a_client_that_logged_in_pushes_and_pulls(
    name: str, door: str, world: World, workshop: Workshop
) -> None:
    """What comes back is what was sent, through the proxy and straight from the gateway."""
    registry = world.owner.registry
    host = registry.proxy_host if door == "proxy" else registry.gateway_host
    reference = f"{host}/{workshop.repository}:1"
    using = workshop.client(name)
    layout = workshop.image("tiny")

    using.log_in(host, f"anybody-{name}", world.writer)
    using.push(layout, reference)
    pulled = using.pull(reference)

    sent = read_layout(layout)
    assert pulled.unpacked() == sent.unpacked()
    if using.keeps_digests:
        assert pulled == sent


@pytest.mark.parametrize("mistake", ["unknown", "mistyped"])
@pytest.mark.parametrize("name", SAYS)
def test_a_wrong_password_is_refused(
    name: str, mistake: str, world: World, workshop: Workshop
) -> None:
    """A token that nobody has and one with a slip in it fail, in the client's own words."""
    # A slip of its own for each: one that fails too often is answered with 429.
    letters = [letter for letter in string.ascii_letters if letter != world.writer[-1]]
    slip = world.writer[:-1] + letters[[*SAYS].index(name)]
    password = generate() if mistake == "unknown" else slip
    using = workshop.client(name)

    # crane, ctr and oras-py ask nobody when they log in, and fail at the next command.
    with refused(SAYS[name].wrong):
        _log_in_and_pull(using, world.host, name, password)


def _log_in_and_pull(using: Client, host: str, user: str, password: str) -> None:
    using.log_in(host, user, password)
    using.pull(f"{host}/{PRIVATE}:1")


@pytest.mark.parametrize("name", SAYS)
def test_without_a_login_private_images_are_refused(
    name: str, world: World, workshop: Workshop
) -> None:
    """Neither pulling nor pushing works."""
    using = workshop.client(name)
    host = world.host
    layout = workshop.image("tiny")
    with refused(SAYS[name].nobody):
        using.pull(f"{host}/{PRIVATE}:1")
    with refused(SAYS[name].nobody):
        using.push(layout, f"{host}/{PRIVATE}:2")


@pytest.mark.parametrize("name", SAYS)
def test_a_public_image_is_pulled_without_a_login(
    name: str, world: World, workshop: Workshop
) -> None:
    """A public image comes without a login."""
    pulled = workshop.client(name).pull(f"{world.host}/{PUBLIC}:1")
    assert pulled.unpacked() == read_layout(recipes.layout("tiny")).unpacked()


def test_a_public_repository_needs_a_login_for_a_push(world: World, workshop: Workshop) -> None:
    """The login must have the right to push there."""
    using = workshop.client("skopeo")
    layout, host = workshop.image("tiny"), world.host
    with refused(SAYS["skopeo"].nobody):
        using.push(layout, f"{host}/{PUBLIC}:2")
    using.log_in(host, "elsewhere", world.writer)
    with refused(SAYS["skopeo"].denied):
        using.push(layout, f"{host}/{PUBLIC}:2")


def test_oras_python_gets_the_token_that_a_challenge_names(
    world: World, workshop: Workshop
) -> None:
    """Its default login keeps its first token: the proxy's challenge names a scope that is enough.

    The gateway's own names none, and that token is for no repository.
    """
    from oras.client import OrasClient  # noqa: PLC0415  of an extra that other tests do without

    file = workshop.workspace.fresh("file")
    file.write_bytes(b"a layer")

    def logged_in(host: str) -> OrasClient:
        theirs = OrasClient(hostname=host, insecure=True)
        theirs.auth.set_basic_auth("anybody", world.pusher)
        return theirs

    theirs, target = logged_in(world.host), f"{world.host}/{workshop.repository}:1"
    theirs.push(target=target, files=[str(file)], disable_path_validation=True, quiet=True)
    manifest = theirs.get_manifest(theirs.get_container(target))
    pulled = workshop.workspace.fresh("pulled")
    theirs.download_blob(target, manifest["layers"][0]["digest"], str(pulled))
    assert pulled.read_bytes() == b"a layer"

    gateway = world.owner.registry.gateway_host
    theirs = logged_in(gateway)
    with pytest.raises(ValueError, match="Unauthorized"):
        theirs.get_manifest(theirs.get_container(f"{gateway}/{PRIVATE}:1"))


@pytest.mark.parametrize("name", SAYS)
def test_a_login_that_may_only_pull_is_denied_a_push(
    name: str, world: World, workshop: Workshop
) -> None:
    """To a new repository and over a tag; the client prints the refusal."""
    using = workshop.client(name)
    host = world.host
    using.log_in(host, f"reader-{name}", world.reader)

    pulled = using.pull(f"{host}/{PRIVATE}:1")
    assert pulled.unpacked() == read_layout(recipes.layout("tiny")).unpacked()

    layout = workshop.image("tiny")
    for target in (f"{workshop.repository}:1", f"{PRIVATE}:1"):
        with refused(SAYS[name].denied):
            using.push(layout, f"{host}/{target}")


@pytest.mark.parametrize("door", ["proxy", "gateway"])
def test_a_client_that_always_sends_basic_pushes_and_pulls(
    door: str, world: World, workshop: Workshop
) -> None:
    """Whoever sends user name and password with each request needs no token."""
    url = getattr(world.owner.registry, door)
    plain = Plain.basic(url, world.writer)
    layout = workshop.image("tiny")

    assert plain.push(layout, workshop.repository, "1") == [202, 201, 202, 201, 201]

    (sent,) = read_layout(layout).images
    assert set(plain.pull(workshop.repository, "1")) == {sent.manifest, sent.config, *sent.layers}
    assert Plain.basic(url, generate()).manifest(workshop.repository, "1")[0] == 401


@pytest.mark.parametrize("name", ["docker", "podman", "crane", "regctl", "oras", "ctr"])
def test_a_revoked_login_is_refused_at_the_next_pull(
    name: str, world: World, workshop: Workshop
) -> None:
    """The client is logged in and has a bearer token."""
    token = world.owner.make(f"leaver-{name}", "clients/**:pull")
    host = world.host
    using = workshop.client(name)
    using.log_in(host, f"leaver-{name}", token)
    using.pull(f"{host}/{PRIVATE}:1")

    world.owner.revoke(f"leaver-{name}")

    with refused(r"(?i)unauthorized|invalid username/password"):
        using.pull(f"{host}/{PRIVATE}:1")


def test_a_token_ends_with_the_login_it_was_given_to(world: World) -> None:
    """The gateway remembers for a minute who sent a header; the registry asks again each time."""
    password = world.owner.make("leaver", "clients/**:pull")
    basic = Plain.basic(world.owner.registry.gateway, password)
    bearer = basic.bearer(f"repository:{PRIVATE}:pull")
    assert [each.manifest(PRIVATE, "1")[0] for each in (basic, bearer)] == [200, 200]

    world.owner.revoke("leaver")

    began = time.monotonic()
    assert [each.manifest(PRIVATE, "1")[0] for each in (basic, bearer)] == [401, 401]
    assert time.monotonic() - began < AT_ONCE


DELETIONS = {
    "crane-tag": "crane delete --insecure {name}:1",
    "crane-digest": "crane delete --insecure {name}@{digest}",
    "regctl-tag": "regctl tag rm {name}:1",
    "regctl-digest": "regctl manifest rm {name}@{digest}",
    "oras": "oras manifest delete --force --plain-http {name}:1",
    "skopeo": "skopeo delete --tls-verify=false docker://{name}:1",
}
"""Ways to delete; ``{name}`` is the repository with its host, ``{digest}`` the image's."""


@pytest.mark.parametrize("way", DELETIONS)
def test_only_a_login_that_may_delete_deletes(way: str, world: World, workshop: Workshop) -> None:
    """A login that may only push is denied, and everything stays."""
    layout = workshop.image("tiny")
    digest = root_of(layout)["digest"]
    repository = workshop.repository
    name = f"{world.host}/{repository}"
    plain = Plain.basic(world.owner.registry.gateway, world.reader)
    using = workshop.client(way.partition("-")[0])

    using.log_in(world.host, f"pusher-{way}", world.pusher)
    using.push(layout, f"{name}:1")
    with refused("(?i)denied"):
        workshop.workspace.run_line(DELETIONS[way], name=name, digest=digest)
    assert plain.manifest(repository, digest)[0] == 200
    # Refused, regctl tries what deletes a tag elsewhere: an empty image in its place, and delete
    # that. Whoever may push may do the first half.
    tagged = plain.manifest(repository, "1")[1]["Docker-Content-Digest"]
    assert (tagged != digest) is (way == "regctl-tag")

    using.log_in(world.host, f"writer-{way}", world.writer)
    workshop.workspace.run_line(DELETIONS[way], name=name, digest=digest)
    assert plain.manifest(repository, "1")[0] == 404


LISTS = {
    "crane": ("crane catalog --insecure", "crane ls --insecure"),
    "regctl": ("regctl repo ls", "regctl tag ls"),
    "oras": ("oras repo ls --plain-http", "oras repo tags --plain-http"),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_show_what_the_login_may_pull(name: str, world: World, workshop: Workshop) -> None:
    """A reader sees its repositories and their tags; an admin sees all."""
    repositories, tags = LISTS[name]
    host = world.host
    using = workshop.client(name)
    run = workshop.workspace.run_line

    using.log_in(host, f"lists-{name}", world.reader)
    shown = set(run(f"{repositories} {host}").split())
    assert shown >= {PRIVATE, PUBLIC}
    assert all(each == PUBLIC or each.startswith("clients/") for each in shown)
    assert run(f"{tags} {host}/{PRIVATE}").split() == ["1"]
    with refused("(?i)denied"):
        run(f"{tags} {host}/{HIDDEN}")

    using.log_in(host, f"lists-{name}", world.owner.token)
    assert set(run(f"{repositories} {host}").split()) >= {PRIVATE, PUBLIC, HIDDEN}


def test_crane_mounts_only_with_rights_on_both_repositories(
    world: World, workshop: Workshop
) -> None:
    """A layer that the login may not pull is not copied."""
    copier = world.owner.make("copier", f"{PRIVATE}:pull", "copies/**:pull,push")
    host = world.host
    workshop.client("crane").log_in(host, "copier", copier)
    run, copy = workshop.workspace.run, ("crane", "copy", "--insecure")

    # It tells of a mount on its standard error.
    output = run(*copy, f"{host}/{PRIVATE}:1", f"{host}/copies/one:1", errors=True)

    assert "mounted blob" in output
    assert "pushed blob" not in output
    with refused("DENIED"):
        run(*copy, f"{host}/{HIDDEN}:1", f"{host}/copies/two:1")
