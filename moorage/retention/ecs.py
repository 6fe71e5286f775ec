"""What runs in Amazon ECS: running tasks, and what the services would start.

This module must never continue without an answer that AWS did not give: retention may delete an
image that is missing here.
Source: Amazon ECS API reference.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from moorage.common.errors import CommandError
from moorage.retention.running import Running

ACTIONS = (
    "ecs:ListClusters",
    "ecs:ListTasks",
    "ecs:DescribeTasks",
    "ecs:ListServices",
    "ecs:DescribeServices",
    "ecs:DescribeTaskDefinition",
)
"""What the reader of an inventory must be allowed, on all resources."""

_TASKS, _SERVICES = 100, 10
"""How many one request describes."""
_GONE, _ENDED = "MISSING", "INACTIVE"


def running(client: Any, clusters: Sequence[str] = ()) -> Iterator[Running]:  # noqa: ANN401 - boto3's clients are made at run time
    """Read the images of clusters, by default of all of the account in the region.

    Raises CommandError, ClientError.
    """
    definitions: dict[str, str] = {}
    for cluster in clusters or list(_pages(client, "list_clusters", "clusterArns")):
        short = cluster.rpartition("/")[2]
        yield from _tasks(client, cluster, f"ecs {short}")
        for arn, service in _services(client, cluster):
            definitions.setdefault(arn, f"ecs {short}/{service}")
    for arn, by in definitions.items():
        found = client.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        for container in found["containerDefinitions"]:
            yield Running(container["image"], by)


def _tasks(client: Any, cluster: str, place: str) -> Iterator[Running]:  # noqa: ANN401 - likewise
    arns = _pages(client, "list_tasks", "taskArns", cluster=cluster)
    for some in _batches(arns, _TASKS):
        answer = client.describe_tasks(cluster=cluster, tasks=some)
        _require_all(answer, cluster)
        for task in answer["tasks"]:
            group = task.get("group", "").removeprefix("service:").removeprefix("family:")
            for container in task.get("containers", []):
                digest = container.get("imageDigest") or ""
                if image := container.get("image"):
                    yield Running(image, f"{place}/{group}", digest)


def _services(client: Any, cluster: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - likewise
    """Give the task definitions of a cluster's services, those being rolled out or back too."""
    arns = _pages(client, "list_services", "serviceArns", cluster=cluster)
    for some in _batches(arns, _SERVICES):
        answer = client.describe_services(cluster=cluster, services=some)
        _require_all(answer, cluster)
        for service in answer["services"]:
            if service.get("status") == _ENDED:
                continue
            rollouts = [*service.get("deployments", []), *service.get("taskSets", [])]
            for each in (service, *rollouts):
                if arn := each.get("taskDefinition"):
                    yield arn, service["serviceName"]


def _pages(client: Any, operation: str, member: str, **request: str) -> Iterator[str]:  # noqa: ANN401 - likewise
    for page in client.get_paginator(operation).paginate(**request):
        yield from page[member]


def _batches(arns: Iterator[str], most: int) -> Iterator[list[str]]:
    while some := list(islice(arns, most)):
        yield some


def _require_all(answer: Any, cluster: str) -> None:  # noqa: ANN401 - likewise
    """Require that AWS described everything, except what has ended since it was listed."""
    for failure in answer.get("failures", []):
        if failure.get("reason") != _GONE:
            raise CommandError(
                f"ECS does not tell all of cluster {cluster}: {failure.get('arn')}:"
                f" {failure.get('reason')}"
            )
