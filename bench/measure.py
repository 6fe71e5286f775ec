"""Moves images to and from both registries on one backend, in turns, and keeps every run.

For each scenario a fresh backend is started, so that none has the memory of another to carry.
Registries are restarted between pushing and pulling: a pull that is called cold meets no cache.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench import workload
from bench.backends import BACKENDS, relay
from bench.registries import moorage, peer
from bench.workload import WARM_UP, Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bench.backends import Counted
    from bench.registries import RunningRegistry
    from bench.workload import Layouts

    Steps = Mapping[str, Callable[..., float]]

PUSH, AGAIN, ELSEWHERE, PULL, PULL_AGAIN = STEPS = (
    "push",
    "push again",
    "push to another repository",
    "pull cold",
    "pull again",
)


@dataclass(frozen=True)
class Scenario:
    """An image, and the client that moves it.

    The peer knows nothing of `moorage push`: skopeo takes its place there.
    """

    image: Image
    client: str

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"{self.image.name}, {self.client}"


SKOPEO, MOORAGE, ORAS = "skopeo", "moorage push", "oras through the edge"
CTR = "ctr through the edge"
CLIENTS: Mapping[str, tuple[Callable[..., float], Callable[..., float]]] = {
    SKOPEO: (workload.by_skopeo, workload.pull_by_skopeo),
    MOORAGE: (workload.by_moorage, workload.pull_by_moorage),
    ORAS: (workload.by_oras, workload.pull_by_oras),
    CTR: (workload.by_ctr, workload.pull_by_ctr),
}
"""How each pushes and pulls."""

SCENARIOS = (
    Scenario(workload.ONE_LARGE, SKOPEO),
    Scenario(workload.LARGEST, SKOPEO),
    Scenario(workload.FOUR, SKOPEO),
    Scenario(workload.MANY_SMALL, SKOPEO),
    Scenario(workload.LARGEST, MOORAGE),
    Scenario(workload.FOUR, MOORAGE),
    Scenario(workload.MANY_SMALL, MOORAGE),
    Scenario(workload.LARGEST, ORAS),
    Scenario(workload.FOUR, CTR),
    Scenario(workload.MANY_SMALL, ORAS),
)


@dataclass(frozen=True)
class Run:
    """One timed step; requests are those to S3 and DynamoDB, None where nobody counts."""

    backend: str
    slowed: bool
    """Whether S3 and DynamoDB took the time of bench/cloud.py."""
    scenario: str
    step: str
    registry: str
    repeat: int
    seconds: float
    s3_requests: int | None = None
    dynamodb_requests: int | None = None


def measure(
    layouts: Layouts, backend: str, scenario: Scenario, repeats: int, *, slowed: bool
) -> Iterator[Run]:
    """Run one scenario `repeats` times with each registry, which take turns at going first."""
    push, pull = CLIENTS[scenario.client]
    pushing: Steps = {PUSH: push, AGAIN: push, ELSEWHERE: partial(push, elsewhere=True)}
    pulling: Steps = {PULL: pull, PULL_AGAIN: pull}
    with ExitStack() as stack:
        behind = stack.enter_context(BACKENDS[backend]())
        aws = stack.enter_context(relay(behind, slowed=True)) if slowed else None
        copies = [layouts.copy(scenario.image) for _ in range(repeats)]
        for steps in (pushing, pulling):
            with (
                moorage(aws.url if aws else behind) as ours,
                peer(aws.url if aws else behind) as theirs,
            ):
                for registry in (ours, theirs):
                    warm_up = layouts.copy(WARM_UP)
                    push(registry, warm_up)
                    pull(registry, warm_up)
                for repeat, copy in enumerate(copies):
                    for registry in in_turns(repeat, ours, theirs):
                        for step, act in steps.items():
                            took = _timed(aws, partial(act, registry, copy))
                            of = (backend, slowed, scenario.name, step, registry.name, repeat)
                            yield Run(*of, *took)
        for copy in copies:
            shutil.rmtree(copy.path)


def in_turns(
    repeat: int, ours: RunningRegistry, theirs: RunningRegistry
) -> tuple[RunningRegistry, RunningRegistry]:
    """Return both in the order of a round: who went second goes first in the next."""
    return (ours, theirs) if repeat % 2 == 0 else (theirs, ours)


def shown(run: Run) -> str:
    """Return a line for whoever waits."""
    counted = "" if run.s3_requests is None else f" S3 {run.s3_requests}"
    more = f" DynamoDB {run.dynamodb_requests}" if run.dynamodb_requests else ""
    speed = "as on AWS" if run.slowed else "as it is"
    return (
        f"{run.backend:9} {speed:9} {run.scenario:24} {run.step:26} {run.registry:15} "
        f"{run.seconds:6.2f} s{counted}{more}"
    )


def _timed(aws: Counted | None, act: Callable[[], float]) -> tuple[float, int | None, int | None]:
    if aws is None:
        return act(), None, None
    before = aws.counts()
    seconds = act()
    asked = aws.counts().since(before)
    return seconds, asked.requests("s3"), asked.requests("dynamodb")
