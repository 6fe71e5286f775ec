"""What runs in ECS: all pages of all clusters, and no answer that lacks something."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from moorage.common.errors import CommandError
from moorage.retention.ecs import ACTIONS, running

PLACE = "arn:aws:ecs:eu-north-1:123456789012"
DIGEST = f"sha256:{'1' * 64}"


class Clusters:
    """ECS with clusters of tasks and services, whose lists come in pages of two."""

    def __init__(self, **tasks: int) -> None:
        self.tasks = tasks
        self.services: dict[str, dict[str, Any]] = {}
        self.failures: list[dict[str, str]] = []
        self.asked: list[tuple[str, Any]] = []
        self._client = boto3.client(
            "ecs",
            region_name="eu-north-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",  # noqa: S106 - nobody is asked
        )
        self._client.meta.events.register("before-call.ecs", self._answer)

    @property
    def client(self) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client of botocore, which checks each request against ECS's own model."""
        return self._client

    def _answer(self, model: Any, params: Any, **_: object) -> tuple[Any, Any]:  # noqa: ANN401 - botocore's own
        import json  # noqa: PLC0415 - as botocore has it

        asked = json.loads(params["body"])
        self.asked.append((model.name, asked))
        http = type("Answer", (), {"status_code": 200, "headers": {}})()
        return http, getattr(self, f"_{model.name}")(asked)

    def _page(self, member: str, arns: list[str], asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as asked
        at = int(asked.get("nextToken", 0))
        more = {"nextToken": str(at + 2)} if len(arns) > at + 2 else {}
        return {member: arns[at : at + 2], **more}

    def _ListClusters(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - the operation's name
        return self._page("clusterArns", [f"{PLACE}:cluster/{name}" for name in self.tasks], asked)

    def _ListTasks(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - likewise
        name = asked["cluster"].rpartition("/")[2]
        arns = [f"{PLACE}:task/{name}/{number}" for number in range(self.tasks[name])]
        return self._page("taskArns", arns, asked)

    def _DescribeTasks(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - likewise
        assert len(asked["tasks"]) <= 100
        tasks = [
            {
                "group": "service:web" if arn.endswith("0") else "family:job",
                "containers": [
                    {"image": f"reg.io/{arn.rpartition(':task/')[2]}", "imageDigest": DIGEST}
                ],
            }
            for arn in asked["tasks"]
        ]
        return {"tasks": tasks, "failures": self.failures}

    def _ListServices(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - likewise
        return self._page("serviceArns", list(self.services), asked)

    def _DescribeServices(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - likewise
        assert len(asked["services"]) <= 10
        return {"services": [self.services[name] for name in asked["services"]]}

    def _DescribeTaskDefinition(self, asked: Any) -> dict[str, Any]:  # noqa: ANN401, N802 - likewise
        image = f"reg.io/{asked['taskDefinition']}"
        return {"taskDefinition": {"containerDefinitions": [{"image": image}, {"image": "nginx"}]}}


def test_every_page_of_every_cluster_is_read() -> None:
    """Each task with the digest that was pulled, and the service or family that it belongs to."""
    ecs = Clusters(prod=5, test=205, idle=0)
    found = {each.image: each for each in running(ecs.client)}
    expected = {
        f"reg.io/{name}/{number}" for name, most in ecs.tasks.items() for number in range(most)
    }
    assert found.keys() == expected
    assert found["reg.io/prod/0"].by == "ecs prod/web"
    assert found["reg.io/test/201"].by == "ecs test/job"
    assert {each.digest for each in found.values()} == {DIGEST}


def test_services_count_with_all_their_rollouts() -> None:
    """What a service would start counts though nothing of it runs; not so one that is gone."""
    ecs = Clusters(prod=0)
    for number in range(23):
        ecs.services[f"s{number}"] = {
            "serviceName": f"s{number}",
            "status": "ACTIVE",
            "taskDefinition": f"s{number}:3",
            "deployments": [{"taskDefinition": f"s{number}:3"}, {"taskDefinition": f"s{number}:2"}],
            "taskSets": [{"taskDefinition": f"s{number}:1"}],
        }
    ecs.services["s22"]["status"] = "INACTIVE"
    found = {each.image: each.by for each in running(ecs.client, ["prod"]) if each.image != "nginx"}
    expected = {
        f"reg.io/s{n}:{revision}": f"ecs prod/s{n}" for n in range(22) for revision in (1, 2, 3)
    }
    assert found == expected
    names = [name for name, _ in ecs.asked]
    assert names.count("DescribeTaskDefinition") == 66
    assert "ListClusters" not in names


@pytest.mark.parametrize(("reason", "is_told"), [("MISSING", True), ("ACCESS_DENIED", False)])
def test_a_task_without_a_description_is_an_error(reason: str, *, is_told: bool) -> None:
    """Except one that has ended since it was listed."""
    ecs = Clusters(prod=1)
    ecs.failures = [{"arn": f"{PLACE}:task/prod/7", "reason": reason}]
    if is_told:
        assert len(list(running(ecs.client))) == 1
        return
    with pytest.raises(CommandError, match=reason):
        list(running(ecs.client))


def test_a_failure_half_way_is_an_error() -> None:
    """Half of the tasks are no inventory."""
    ecs, page = Clusters(prod=5), Clusters._ListTasks  # noqa: SLF001 - as it answers
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListTasks")

    def half(asked: Any) -> dict[str, Any]:  # noqa: ANN401 - as asked
        if "nextToken" in asked:
            raise denied
        return page(ecs, asked)

    ecs._ListTasks = half  # type: ignore[method-assign]  # noqa: SLF001 - likewise
    with pytest.raises(ClientError):
        list(running(ecs.client))


def test_the_calls_need_exactly_the_documented_permissions() -> None:
    """The permissions that are documented are what it takes, and no more."""
    ecs = Clusters(prod=1)
    ecs.services["web"] = {"serviceName": "web", "taskDefinition": "web:1"}
    list(running(ecs.client))
    assert {f"ecs:{name}" for name, _ in ecs.asked} == set(ACTIONS)
