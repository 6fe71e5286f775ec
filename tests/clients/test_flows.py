"""Programs that do more than copy images: charts, signatures, builds, python-dxf, our own.

Each does its whole task at proxy and gateway: of an open registry, of one that asks for a login,
and of one whose gateway says a length of 0 on every HEAD and which therefore redirects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients import daemons
from tests.clients.flows.builds import BuildKit, build_with_ko
from tests.clients.flows.charts import push_and_pull_a_chart
from tests.clients.flows.dxf import push_and_pull_with_dxf
from tests.clients.flows.place import Place
from tests.clients.flows.signatures import Cosign, sign_with_notation
from tests.clients.flows.transfers import move_each_kind_of_source
from tests.clients.tools import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.daemons import RegistryProcess
    from tests.clients.logins import World
    from tests.clients.workshop import Workshop

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]

_BUNDLE = "--new-bundle-format"
COSIGN_FORMS = {
    "cosign-bundle": Cosign("cosign3", (f"{_BUNDLE}=true",), (f"{_BUNDLE}=true",)),
    "cosign-tags": Cosign("cosign3", (f"{_BUNDLE}=false",), (f"{_BUNDLE}=false",)),
    "cosign2-tags": Cosign("cosign2"),
    "cosign2-referrers": Cosign(
        "cosign2", ("--registry-referrers-mode=oci-1-1",), ("--experimental-oci11",), attests=False
    ),
}


def _sign(name: str) -> Callable[[Place, Workshop], None]:
    return lambda place, shop: COSIGN_FORMS[name].sign_and_attest(place, shop.image("tiny"))


def _build(*, image_manifest: bool) -> Callable[[Place, Workshop], None]:
    return lambda place, shop: BuildKit(place, shop.daemon("buildkitd")).use(
        image_manifest=image_manifest
    )


FLOWS: dict[str, Callable[[Place, Workshop], None]] = {
    "helm3": lambda place, _: push_and_pull_a_chart(place, "helm3"),
    "helm4": lambda place, _: push_and_pull_a_chart(place, "helm4"),
    "notation": lambda place, shop: sign_with_notation(place, shop.image("tiny")),
    **{name: _sign(name) for name in COSIGN_FORMS},
    "buildkit-cache-image": _build(image_manifest=True),
    "buildkit-cache-index": _build(image_manifest=False),
    "ko": lambda place, shop: build_with_ko(place, shop.image("tiny")),
    "dxf": lambda place, _: push_and_pull_with_dxf(place),
    "moorage": lambda place, shop: move_each_kind_of_source(
        place, shop.image("few-small"), shop.daemon("dockerd")
    ),
}
NIGHTLY = {"cosign2-tags", "cosign2-referrers"}
NAMES = [
    pytest.param(name, marks=pytest.mark.nightly) if name in NIGHTLY else name for name in FLOWS
]
DOORS = ("proxy", "gateway")
FAILS_AT_THE_GATEWAY_ITSELF = {"notation": 'missing required header "Docker-Content-Digest"'}
"""What a client says that reads a manifest's digest from a HEAD, and has no proxy before it."""


@pytest.fixture(scope="module")
def zero() -> Iterator[RegistryProcess]:
    """Give a registry whose gateway says 0, set as `moorage local` sets it: to redirect."""
    with daemons.start_moorage("--head-mode", "zero") as running:
        yield running


def _at(shop: Workshop, registry: RegistryProcess, door: str, password: str | None = None) -> Place:
    host = registry.proxy_host if door == "proxy" else registry.gateway_host
    return Place(shop.workspace, host, shop.repository, password, door == "proxy")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("flow", NAMES)
def test_a_flow_works_in_an_open_registry(
    flow: str, door: str, registry: RegistryProcess, workshop: Workshop
) -> None:
    """The client does its task, and what it reads back is what it wrote."""
    FLOWS[flow](_at(workshop, registry, door), workshop)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("flow", NAMES)
def test_a_flow_works_with_a_login(flow: str, door: str, world: World, workshop: Workshop) -> None:
    """The same with a login that may pull and push, kept as the client keeps it."""
    FLOWS[flow](_at(workshop, world.owner.registry, door, world.pusher), workshop)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("flow", NAMES)
def test_a_flow_works_where_heads_have_no_length(
    flow: str, door: str, zero: RegistryProcess, workshop: Workshop
) -> None:
    """The proxy makes up for HEADs without a length; without it some clients fail, and say why."""
    place = _at(workshop, zero, door)
    complaint = FAILS_AT_THE_GATEWAY_ITSELF.get(flow) if door == "gateway" else None
    if complaint is None:
        FLOWS[flow](place, workshop)
    else:
        with pytest.raises((ClientError, AssertionError), match=complaint):
            FLOWS[flow](place, workshop)
