"""What the benchmark is held to: each target, what was measured, and whether it holds.

Ratios are Moorage's median over the peer's in the same run. A target that nothing measured doesn't
hold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

from bench import cloud, coldstart, workload
from bench.commits import DIRECT, GB
from bench.counting import WHOLE_PUT
from bench.handler import PULLS
from bench.measure import AGAIN, MOORAGE, ORAS, PULL, PUSH, SCENARIOS, SKOPEO, Scenario
from bench.registries import MOORAGE as OURS
from bench.registries import PEER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.backends import Counts
    from bench.commits import Commit
    from bench.counting import Asked
    from bench.handler import Spent
    from bench.measure import Run
    from bench.workload import Image

RATIO, REQUESTS, BYTES, SPENT = "x the peer's time", "requests", "bytes", "ms"
TIMES, SECONDS = "x", "s"
CLOUD = "ministack"
"""The backend on which S3 and DynamoDB are slowed."""

_READS = frozenset({"GetItem", "BatchGetItem", "Query"})
_S3_READS = frozenset({"HeadObject", "GetObject"})


@dataclass(frozen=True)
class Target:
    """One target; `measured` is None where nothing measured it."""

    name: str
    limit: float
    measured: float | None
    unit: str

    @property
    def holds(self) -> bool:
        """Whether it was measured, and is within its limit."""
        return self.measured is not None and self.measured <= self.limit

    def row(self) -> dict[str, object]:
        """Return it as results.json has it."""
        return {**asdict(self), "holds": self.holds}


def time_targets(runs: Sequence[Run]) -> Iterator[Target]:
    """Return the targets on time."""
    pushes = ((workload.ONE_LARGE, 0.35), (workload.FOUR, 0.35), (workload.MANY_SMALL, 0.12))
    for image, limit in pushes:
        name = f"push of {image.name} by skopeo, S3 and DynamoDB as slow as on AWS"
        yield Target(name, limit, ratio(runs, CLOUD, Scenario(image, SKOPEO), PUSH), RATIO)
    for backend in ("moto", "ministack"):
        for image in (workload.ONE_LARGE, workload.MANY_SMALL):
            measured = ratio(runs, backend, Scenario(image, SKOPEO), PUSH, slowed=False)
            yield Target(
                f"push of {image.name} by skopeo, {backend} as it is", 0.7, measured, RATIO
            )
    largest = Scenario(workload.LARGEST, MOORAGE)
    name = f"`moorage push` of {largest.image.name}, skopeo at the peer"
    yield Target(name, 0.25, ratio(runs, CLOUD, largest, PUSH), RATIO)
    edge = Scenario(workload.LARGEST, ORAS)
    name = f"push of {edge.image.name} by oras, through the edge"
    yield Target(name, 0.3, ratio(runs, CLOUD, edge, PUSH), RATIO)
    for step, limit in ((AGAIN, 0.4), (PULL, 0.8)):
        for scenario in SCENARIOS:
            yield Target(
                f"{step}: {scenario.name}", limit, ratio(runs, CLOUD, scenario, step), RATIO
            )


def handler_targets(spent: Sequence[Spent]) -> Iterator[Target]:
    """Return the targets on the processor's time."""
    found = {each.name: each.p50 for each in spent}
    for name in PULLS:
        yield Target(f"{name}: processor, median", 5, found.get(name), SPENT)


def commit_targets(commits: Sequence[Commit]) -> Iterator[Target]:
    """Return the targets on commits of direct uploads, in simulated time."""
    found = {each.size: each.seconds for each in commits if each.way == DIRECT}
    one, ten, hundred = (found.get(size * GB) for size in (1, 10, 100))
    grown = ten / one if one and ten else None
    yield Target("commit of 10 GB beside that of 1 GB, simulated", 1.5, grown, TIMES)
    yield Target("commit of 100 GB, simulated", cloud.WORKER_SECONDS, hundred, SECONDS)


def cold_targets(cold: Mapping[str, Sequence[float]]) -> Iterator[Target]:
    """Return the targets on cold starts."""
    ratios = coldstart.ratios_of(cold) if cold else {}
    for kind in coldstart.PULLS:
        name = f"cold start of a {kind}, beside a compiled baseline"
        yield Target(name, coldstart.TARGET, ratios.get(kind), TIMES)


def ratio(
    runs: Sequence[Run], backend: str, scenario: Scenario, step: str, *, slowed: bool = True
) -> float | None:
    """Return Moorage's median time over the peer's; None where one of them was not timed."""
    ours, theirs = (
        seconds(runs, backend, scenario.name, step, registry, slowed=slowed)
        for registry in (OURS, PEER)
    )
    return ratio_of(ours, theirs) if ours and theirs else None


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the ratio of the medians."""
    return median(ours) / median(theirs)


def seconds(  # noqa: PLR0913 - what names a run
    runs: Sequence[Run], backend: str, scenario: str, step: str, registry: str, *, slowed: bool
) -> list[float]:
    """Return all times of one step."""
    of = (backend, slowed, scenario, step, registry)
    return [
        run.seconds
        for run in runs
        if (run.backend, run.slowed, run.scenario, run.step, run.registry) == of
    ]


def budgets(asked: Sequence[Asked]) -> Iterator[Target]:
    """Return the targets on requests and bytes, which depend on no clock."""
    counted = _Counted(asked)
    many = counted.aws(workload.MANY_SMALL, SKOPEO)
    name = f"{workload.MANY_SMALL.name} through the push proxy"
    yield Target(f"{name}: S3", 33, many.requests("s3") if many else None, REQUESTS)
    yield Target(f"{name}: DynamoDB", 110, many.requests("dynamodb") if many else None, REQUESTS)

    name = "one layer of 100 MB whose digest is known, `moorage push`"
    for service, label, limit in (("s3", "S3", 4), ("dynamodb", "DynamoDB", 6)):
        yield Target(f"{name}: {label}", limit, counted.of_the_layer(MOORAGE, service), REQUESTS)

    stream = counted.aws(workload.ONE_LARGE, SKOPEO)
    parts = stream.requests("s3", "UploadPart") if stream else 0
    sent = f", {parts} parts" if stream else ""
    name = f"one layer of 100 MB through the push proxy{sent}: S3, at most 2 x parts + 6"
    yield Target(name, 2 * parts + 6, counted.of_the_layer(SKOPEO, "s3"), REQUESTS)

    name = f"{WHOLE_PUT} at the gateway"
    whole = counted.found.get((WHOLE_PUT, PUSH))
    reads = (("s3", "S3", _S3_READS), ("dynamodb", "DynamoDB", _READS))
    for service, label, operations in reads:
        rest = (
            whole.aws.requests(service) - whole.aws.requests(service, *operations)
            if whole
            else None
        )
        yield Target(f"{name}: {label}, besides reads", 1, rest, REQUESTS)

    for client in (SKOPEO, MOORAGE):
        pushes = [counted.of(image, client) for image in (workload.ONE_LARGE, workload.FOUR)]
        passed = sum(_layer_bytes(each) for each in pushes if each) if all(pushes) else None
        yield Target(f"bytes of layers above 4.5 MB at the gateway, {client}", 0, passed, BYTES)


def pull_targets(asked: Sequence[Asked]) -> Iterator[Target]:
    """Return the targets on what the registry itself asks of S3 while images are pulled.

    They are no budgets: a config is answered with its bytes, by one GET.
    """
    counted = _Counted(asked)
    for client in (SKOPEO, MOORAGE):
        for image in (workload.ONE_LARGE, workload.FOUR, workload.MANY_SMALL):
            pulled = counted.aws(image, client, PULL)
            name = f"pull of {image.name}, {client}: S3, by the registry itself"
            asks = pulled.requests("s3", by_url=False) if pulled else None
            yield Target(name, 0, asks, REQUESTS)


class _Counted:
    """What was asked at Moorage, by image, client and step; None where nobody counted it."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.found = {(each.scenario, each.step): each for each in asked if each.registry == OURS}

    def of(self, image: Image, client: str, step: str = PUSH) -> Asked | None:
        """Return all that was asked."""
        return self.found.get((Scenario(image, client).name, step))

    def aws(self, image: Image, client: str, step: str = PUSH) -> Counts | None:
        """Return what was asked of S3 and DynamoDB."""
        found = self.of(image, client, step)
        return found.aws if found else None

    def of_the_layer(self, client: str, service: str) -> int | None:
        """Return how many requests the push of one large layer takes beyond an image without."""
        whole, bare = self.aws(workload.ONE_LARGE, client), self.aws(workload.NO_LAYER, client)
        return whole.requests(service) - bare.requests(service) if whole and bare else None


def _layer_bytes(asked: Asked) -> int:
    """Return the bytes that came to the gateway in requests too large to be all words."""
    assert asked.gateway is not None  # noqa: S101 - Moorage's is always counted
    return sum(
        row.moved
        for kind, row in asked.gateway.rows.items()
        if "blobs/uploads" in kind.operation and kind.size not in {"none", "up to 64 KiB"}
    )
