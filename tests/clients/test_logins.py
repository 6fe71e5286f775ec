"""Every client logs in as it does elsewhere, and one that does not is refused what is private.

The registry has access control. Clients log in by their own commands with an API token as the
password; the user name is anything.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from chalicelib.access.credentials import generate
from tests.clients import recipes
from tests.clients.contents import read_layout
from tests.clients.logins import PRIVATE, PUBLIC, SAYS, Plain, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.adapters.base import Client
    from tests.clients.logins import World

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

AT_ONCE = 20

ROWS = [(name, door) for name in SAYS for door in ("proxy", "gateway")]


@pytest.mark.parametrize(("name", "door"), ROWS)
def test_a_client_that_logged_in_pushes_and_pulls(  # noqa: PLR0913  fixtures, not options
    name: str,
    door: str,
    world: World,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
) -> None:
    """What comes back is what was sent, through the proxy and straight from the gateway."""
    registry = world.owner.registry
    host = registry.proxy_host if door == "proxy" else registry.gateway_host
    reference = f"{host}/{repository}:1"
    using = client(name)
    layout = image("tiny")

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
    name: str, mistake: str, world: World, client: Callable[[str], Client]
) -> None:
    """A token that nobody has and one with a slip in it fail, in the client's own words."""
    slip = world.writer[:-1] + ("a" if world.writer[-1] != "a" else "b")
    password = generate() if mistake == "unknown" else slip
    using = client(name)
    host = world.host
    # A user name of its own: too many failures under one are answered with 429.
    user = f"{name}-{mistake}"

    # crane, ctr and oras-py ask nobody when they log in, and fail at the next command.
    with refused(SAYS[name].wrong):
        _log_in_and_pull(using, host, user, password)


def _log_in_and_pull(using: Client, host: str, user: str, password: str) -> None:
    using.log_in(host, user, password)
    using.pull(f"{host}/{PRIVATE}:1")


@pytest.mark.parametrize("name", SAYS)
def test_who_does_not_log_in_gets_nothing_that_is_private(
    name: str, world: World, client: Callable[[str], Client], image: Callable[[str], Path]
) -> None:
    """Neither pulling a private image nor pushing one works."""
    using = client(name)
    host = world.host
    layout = image("tiny")
    with refused(SAYS[name].nobody):
        using.pull(f"{host}/{PRIVATE}:1")
    with refused(SAYS[name].nobody):
        using.push(layout, f"{host}/{PRIVATE}:2")


@pytest.mark.parametrize("name", [name for name in SAYS if name != "oras-py"])
def test_anybody_pulls_what_is_public(
    name: str, world: World, client: Callable[[str], Client]
) -> None:
    """A public image comes without a login."""
    pulled = client(name).pull(f"{world.host}/{PUBLIC}:1")
    assert pulled.unpacked() == read_layout(recipes.layout("tiny")).unpacked()


def test_what_is_public_is_not_open_to_a_push(
    world: World, client: Callable[[str], Client], image: Callable[[str], Path]
) -> None:
    """Pushing there needs a login that may push there."""
    using = client("skopeo")
    layout, host = image("tiny"), world.host
    with refused(SAYS["skopeo"].nobody):
        using.push(layout, f"{host}/{PUBLIC}:2")
    using.log_in(host, "elsewhere", world.writer)
    with refused(SAYS["skopeo"].denied):
        using.push(layout, f"{host}/{PUBLIC}:2")


def test_oras_python_gets_no_token_for_a_repository(
    world: World, client: Callable[[str], Client]
) -> None:
    """It keeps the token that the first challenge leads to, and that one names no repository."""
    from oras.client import OrasClient  # noqa: PLC0415  of an extra that other tests do without

    host = world.host
    with pytest.raises(ValueError, match="Unauthorized"):
        client("oras-py").pull(f"{host}/{PUBLIC}:1")
    theirs = OrasClient(hostname=host, insecure=True)
    theirs.auth.set_basic_auth("anybody", world.writer)
    with pytest.raises(ValueError, match="Unauthorized"):
        theirs.get_manifest(theirs.get_container(f"{host}/{PRIVATE}:1"))


@pytest.mark.parametrize("name", SAYS)
def test_who_may_only_pull_is_denied_a_push(
    name: str,
    world: World,
    client: Callable[[str], Client],
    image: Callable[[str], Path],
    repository: str,
) -> None:
    """Pulling works; pushing, to a new repository and over a tag, is denied and says so."""
    using = client(name)
    host = world.host
    using.log_in(host, f"reader-{name}", world.reader)

    pulled = using.pull(f"{host}/{PRIVATE}:1")
    assert pulled.unpacked() == read_layout(recipes.layout("tiny")).unpacked()

    layout = image("tiny")
    for target in (f"{repository}:1", f"{PRIVATE}:1"):
        with refused(SAYS[name].denied):
            using.push(layout, f"{host}/{target}")


@pytest.mark.parametrize("door", ["proxy", "gateway"])
def test_a_client_that_always_sends_basic_pushes_and_pulls(
    door: str, world: World, image: Callable[[str], Path], repository: str
) -> None:
    """Whoever sends user name and password with each request needs no token."""
    url = getattr(world.owner.registry, door)
    plain = Plain.basic(url, world.writer)
    layout = image("tiny")

    assert plain.push(layout, repository, "1") == [202, 201, 202, 201, 201]

    (sent,) = read_layout(layout).images
    assert set(plain.pull(repository, "1")) == {sent.manifest, sent.config, *sent.layers}
    assert Plain.basic(url, generate()).manifest(repository, "1").status == 401


@pytest.mark.parametrize("name", ["docker", "podman", "crane", "regctl", "oras", "ctr"])
def test_a_revoked_login_ends_at_once(
    name: str, world: World, client: Callable[[str], Client]
) -> None:
    """After the owner's command the next pull of a client that is logged in fails."""
    token = world.owner.make(f"leaver-{name}", "clients/**:pull")
    host = world.host
    using = client(name)
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
    assert [each.manifest(PRIVATE, "1").status for each in (basic, bearer)] == [200, 200]

    world.owner.revoke("leaver")

    began = time.monotonic()
    assert [each.manifest(PRIVATE, "1").status for each in (basic, bearer)] == [401, 401]
    assert time.monotonic() - began < AT_ONCE
