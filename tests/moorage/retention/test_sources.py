"""`moorage retention protect`, `unprotect`, `sources`: what runs is in use, whoever says so."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.digest import Digest
from chalicelib.registry.model import InUse, UseSource, bodies_of
from chalicelib.stores.dynamodb.in_use import DynamoInUseStore, UseSourceMovedError
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3.objects import S3ObjectStore
from moorage.common import aws
from moorage.common.data import DataNames
from moorage.common.errors import CommandError, UsageError
from moorage.common.project import PROJECT
from moorage.retention import sources
from moorage.retention.ecs import ACTIONS
from moorage.retention.sources import InUseSources, Where
from tests.support.values import a_manifest, begin_delete, key_of, push, push_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command, CommandResult

HOST, NAME = "127.0.0.1:5000", "team/app"
INDEX = "application/vnd.oci.image.index.v1+json"


class Protecting:
    """The command, at a registry with some images."""

    def __init__(self, moorage: Command, backend: Backend, folder: Path) -> None:
        self.moorage, self.backend, self.folder = moorage, backend, folder
        client = backend.dynamodb()
        tables = backend.registry_table, backend.uploads_table
        self.metadata = DynamoMetadataStore(client, *tables)
        self.sessions = DynamoSessionStore(client, backend.uploads_table)
        self.at = f"--table {backend.registry_table} --aws-endpoint {backend.endpoint_url}"

    def image(self, *tags: str, **changes: Any) -> Digest:  # noqa: ANN401 - any field of a manifest
        """Store an image, and return its digest."""
        manifest = a_manifest(repository=NAME, **changes)
        return push_manifest(self.metadata, manifest, *tags).digest

    def protect(
        self, *lines: str, origin: str = "file", more: str = "", text: str | None = None
    ) -> CommandResult:
        """Let the source `prod` name what stands in a file."""
        file = self.folder / "running"
        file.write_text("\n".join(lines) if text is None else text)
        words = f"retention protect {file} --from {origin} --name prod {more} {self.at}"
        return self.moorage(words)

    def in_use(self, repository: str = NAME) -> Mapping[Digest, str]:
        """Return what is in use, as the one source says."""
        leases = self.metadata.in_use(repository)
        return leases[0].digests if leases else {}


@pytest.fixture
def registry(moorage: Command, backend: Backend, tmp_path: Path) -> Protecting:
    """A registry."""
    return Protecting(moorage, backend, tmp_path)


def test_what_a_list_names_is_in_use(registry: Protecting) -> None:
    """By digest, by tag, with or without the host: with the images of an index, and theirs."""
    leaf, other = registry.image(), registry.image("v2")
    inner = registry.image(media_type=INDEX, references=(leaf,))
    outer = registry.image("v1", media_type=INDEX, references=(inner,))
    done = registry.protect(
        f"{HOST}/{NAME}:v1 nomad web", f"{NAME}@{other}", "other.example/x:1", "other.example/y:1"
    )
    assert (done.status, done.out) == (0, "")
    assert "not of this registry: other.example (2)" in done.err
    assert "source prod: 4 digests of 1 repositories are in use; refresh it before 20" in done.err
    assert registry.in_use() == {
        **dict.fromkeys((outer, inner, leaf), "nomad web"),
        other: "",
    }
    [lease] = registry.metadata.in_use(NAME)
    assert lease.until - lease.refreshed_at == 48 * 3600
    assert (lease.source, lease.origin) == ("prod", "file")


def test_a_source_is_listed_and_removed(registry: Protecting) -> None:
    """With until when it holds; one that is overdue is told, and holds on."""
    assert "there are no sources" in registry.moorage(f"retention sources {registry.at}").err
    digest = registry.image("v1")
    assert registry.protect(f"{NAME}:v1", more="--ttl 1h").status == 0
    shown = registry.moorage(f"retention sources {registry.at}")
    row = shown.out.splitlines()[1].split()
    assert (row[:2], row[-2:]) == (["prod", "file"], ["1", "1"])
    assert "overdue" not in shown.out
    store = DynamoInUseStore(registry.backend.dynamodb(), registry.backend.registry_table)
    store.refresh(
        UseSource("old", "k8s", (NAME,), 1, 0.0, 60.0, ""),
        [InUse(NAME, "old", "k8s", {digest: ""}, 0.0, 60.0)],
    )
    shown = registry.moorage(f"retention sources {registry.at}")
    assert "overdue: retention waits" in shown.out.splitlines()[1]
    values = json.loads(registry.moorage(f"retention sources --json {registry.at}").out)
    assert [(each["name"], each["overdue"]) for each in values] == [("old", True), ("prod", False)]
    assert values[1]["repositories"] == [NAME]
    for name, left in (("prod", ["old"]), ("old", [])):
        removed = registry.moorage(f"retention unprotect --name {name} {registry.at}")
        assert (removed.status, f"removed source {name}" in removed.err) == (0, True)
        assert [lease.source for lease in registry.metadata.in_use(NAME)] == left
    again = registry.moorage(f"retention unprotect --name prod {registry.at}")
    assert (again.status, "there is no source 'prod'" in again.err) == (1, True)


def test_what_kubectl_prints_is_in_use(registry: Protecting) -> None:
    """A digest that the registry lacks, and what the pod's tag names then, count both."""
    here, moved = registry.image("v1"), registry.image("v2")
    lacking = Digest.of(b"never pushed")
    guessed, config = registry.image(), Digest.of(b"a config")
    pods = [
        (f"{HOST}/{NAME}:v1", f"{HOST}/{NAME}@{here}"),
        (f"{HOST}/{NAME}:v2", f"{HOST}/{NAME}@{lacking}"),
        (f"{HOST}/{NAME}:v1", f"docker://{guessed}"),
        (f"{HOST}/{NAME}:v1", str(config)),
        (f"{HOST}/Bad:v1", ""),
    ]
    items = [
        {
            "kind": "Pod",
            "metadata": {"namespace": "prod", "name": f"p{number}"},
            "spec": {"containers": [{"name": "c", "image": image}]},
            "status": {"containerStatuses": [{"name": "c", "image": image, "imageID": image_id}]},
        }
        for number, (image, image_id) in enumerate(pods)
    ]
    done = registry.protect(text=json.dumps({"items": items}), origin="k8s")
    assert done.status == 0
    assert registry.in_use() == {
        here: "k8s prod/p0",
        lacking: "k8s prod/p1",
        moved: "k8s prod/p1",
        guessed: "k8s prod/p2",
    }
    assert f"@{lacking} runs (k8s prod/p1), and is not in the registry: push it again" in done.err
    assert "'127.0.0.1:5000/Bad:v1' is no image of the registry" in done.err


def test_what_runs_in_ecs_is_in_use(registry: Protecting) -> None:
    """Tasks, and what services would start, over an emulation of ECS."""
    task, service = registry.image("job"), registry.image("web")
    session = boto3.session.Session("local", "local", region_name="us-east-1")
    client = session.client("ecs", endpoint_url=registry.backend.endpoint_url)
    client.create_cluster(clusterName="prod")
    for family in ("job", "web"):
        container = {"name": "c", "image": f"{HOST}/{NAME}:{family}", "memory": 64}
        client.register_task_definition(family=family, containerDefinitions=[container])
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
    client.run_task(
        cluster="prod", taskDefinition="job", launchType="FARGATE", networkConfiguration=network
    )
    client.create_service(cluster="prod", serviceName="front", taskDefinition="web", desiredCount=0)
    done = registry.moorage(f"retention protect --from ecs --name prod {registry.at}")
    assert done.status == 0, done.err
    assert registry.in_use() == {task: "ecs prod/job", service: "ecs prod/front"}
    missing = "retention protect --from ecs --name other --cluster nowhere"
    failed = registry.moorage(f"{missing} {registry.at}")
    assert (failed.status, "ClusterNotFoundException" in failed.err) == (1, True)
    assert len(registry.metadata.in_use(NAME)) == 1


def test_a_running_image_that_was_deleted_is_reported(registry: Protecting) -> None:
    """With the command that restores it; it is in use if it is restored."""
    deleted, gone = registry.image(), Digest.of(b"gone")
    begin_delete(registry.metadata, NAME, deleted, 0.0)
    done = registry.protect(f"{NAME}@{deleted} web", f"{NAME}@{gone}", f"{NAME}:v9 web")
    assert done.status == 0
    place = f"{NAME}@{deleted}"
    assert (
        f"{place} runs (web), and was deleted: `moorage repo restore REGISTRY/{place}`" in done.err
    )
    assert f"{NAME}@{gone} runs, and is not in the registry" in done.err
    assert f"{NAME}:v9 runs (web), and there is no such tag" in done.err
    assert registry.in_use() == {deleted: "web", gone: ""}


@pytest.mark.parametrize("large", [False, True], ids=["from its item", "from the bucket"])
def test_the_images_of_a_long_index_are_read_from_its_body(
    registry: Protecting, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    """Where an item does not hold all that it refers to."""
    child = registry.image()
    named = {"mediaType": a_manifest().media_type, "digest": str(child), "size": 7}
    body = json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()
    index = registry.image(
        "v1",
        media_type=INDEX,
        references=None,
        body=None if large else body,
        digest=Digest.of(body),
    )
    if large:
        home = bodies_of(NAME)
        failed = registry.protect(f"{NAME}:v1")
        assert (failed.status, "what it names can't be read" in failed.err) == (1, True)
        assert registry.in_use() == {}
        key = key_of(push(registry.sessions, registry.metadata, home, index))
        S3ObjectStore(registry.backend.s3(), registry.backend.bucket).put(key, body)
        names = replace(DataNames(), bucket=registry.backend.bucket)
        monkeypatch.setattr(sources, "DataNames", lambda: names)
    assert registry.protect(f"{NAME}:v1").status == 0
    assert registry.in_use() == {index: "", child: ""}


REFUSED = {
    "an empty list": (1, "", "", "nothing that runs there is in this registry"),
    "another registry's": (1, "other.example/x:1", "", "not of this registry: other.example (1)"),
    "a tag that is not there": (1, f"{NAME}:v9", "", f"{NAME}:v9 runs, and there is no such tag"),
    "a line without a tag": (2, f"{NAME}:v1\n{NAME}", "", "give a tag or a digest"),
    "no time at all": (2, f"{NAME}:v1", "--ttl 0", "overdue at once"),
    "no host": (2, f"{NAME}:v1", "--registry https://", "a registry is a host"),
    "another host": (1, f"{HOST}/{NAME}:v1", "--registry reg.io", "which is reg.io"),
    "too many": (
        1,
        "\n".join(f"{NAME}@{Digest.of(b'%d' % number)}" for number in range(5300)),
        "",
        "divide it into several sources",
    ),
}


@pytest.mark.parametrize(("status", "text", "more", "said"), REFUSED.values(), ids=REFUSED)
def test_a_refused_refresh_leaves_the_leases_unchanged(
    registry: Protecting, status: int, text: str, more: str, said: str
) -> None:
    """An inventory that failed protects as before; it never opens anything."""
    digest = registry.image("v1")
    assert registry.protect(f"{NAME}:v1").status == 0
    refused = registry.protect(text=text, more=more)
    assert (refused.status, said in refused.err) == (status, True), refused.err
    assert registry.in_use() == {digest: ""}


def test_an_empty_cluster_needs_the_option_that_allows_it(registry: Protecting) -> None:
    """Then the source names nothing, and is there."""
    registry.image("v1")
    assert registry.protect(f"{NAME}:v1").status == 0
    done = registry.protect(text='{"items": []}', origin="k8s", more="--empty")
    assert (done.status, "0 digests of 0 repositories" in done.err) == (0, True)
    assert registry.in_use() == {}
    assert "prod" in registry.moorage(f"retention sources {registry.at}").out


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "x" * 65, "é"])
def test_a_source_has_a_plain_name(name: str) -> None:
    """It stands in a key."""
    where = InUseSources("none")
    with pytest.raises(UsageError, match="no name of a source"):
        where.protect(name, Where("file"), ttl=1.0)
    with pytest.raises(UsageError, match="no name of a source"):
        where.unprotect(name)


def test_another_refresh_at_the_same_time_is_reported(
    registry: Protecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By both commands."""
    registry.image("v1")

    def moved(*_: object) -> None:
        raise UseSourceMovedError

    monkeypatch.setattr(DynamoInUseStore, "refresh", moved)
    monkeypatch.setattr(DynamoInUseStore, "remove", moved)
    done = registry.protect(f"{NAME}:v1")
    assert (done.status, "another refresh of source prod" in done.err) == (1, True)
    done = registry.moorage(f"retention unprotect --name prod {registry.at}")
    assert (done.status, "is being refreshed at this moment" in done.err) == (1, True)


class Stacks:
    """CloudFormation with the stacks of a stage."""

    def __init__(self, **stacks: Mapping[str, str]) -> None:
        self.stacks = {name.replace("_", "-"): stack for name, stack in stacks.items()}

    def describe_stacks(self, *, StackName: str) -> dict[str, Any]:  # noqa: N803 - as boto3 has it
        """Describe one."""
        if StackName not in self.stacks:
            message = f"Stack with id {StackName} does not exist"
            raise ClientError({"Error": {"Code": "ValidationError", "Message": message}}, "x")
        stack = self.stacks[StackName]
        outputs = [{"OutputKey": k, "OutputValue": v} for k, v in stack.items() if k[0] != "P"]
        given = [{"ParameterKey": k, "ParameterValue": v} for k, v in stack.items() if k[0] == "P"]
        return {"Stacks": [{"Outputs": outputs, "Parameters": given}]}


@pytest.mark.parametrize(
    ("stacks", "hosts"),
    [
        (
            {
                "moorage_prod": {
                    "EndpointURL": "https://x.execute-api/v2/",
                    "PublicUrl": "https://r.io",
                }
            },
            ["https://r.io", "https://x.execute-api/v2/"],
        ),
        (
            {"moorage_prod": {"EndpointURL": "https://x"}, "moorage_prod_edge": {"Host": "d1.net"}},
            ["https://x", "d1.net"],
        ),
        ({}, None),
    ],
)
def test_the_stacks_of_a_stage_say_by_which_names_images_have_it(
    monkeypatch: pytest.MonkeyPatch, stacks: dict[str, Any], hosts: list[str] | None
) -> None:
    """API Gateway's, the edge's and a domain's; where none says so, a person has to."""
    monkeypatch.setattr(aws.Aws, "client", lambda *_: Stacks(**stacks))
    where = InUseSources("moorage-prod-data")
    if hosts is None:
        with pytest.raises(CommandError, match="give --registry HOST"):
            where._hosts()  # noqa: SLF001 - nothing else of it can be asked without AWS
    else:
        assert where._hosts() == hosts  # noqa: SLF001 - likewise


def test_what_retention_is_about_to_remove_stays(registry: Protecting) -> None:
    """Its mark is taken away when the lease is there, so that the run leaves it."""
    digest = registry.image()
    manifest = registry.metadata.get_manifest(NAME, digest)
    assert manifest is not None
    assert registry.metadata.mark_manifest(manifest, "n 1 root r")
    assert registry.protect(f"{NAME}@{digest}").status == 0
    assert registry.metadata.get_manifest(NAME, digest) == manifest


def test_an_image_that_retention_removes_meanwhile_is_reported(
    registry: Protecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked up before, and is in the trash when the lease is written."""
    digest = registry.image("v1")
    refresh = DynamoInUseStore.refresh

    def late(*given: Any) -> None:  # noqa: ANN401 - as refresh
        begin_delete(registry.metadata, NAME, digest, 0)
        refresh(*given)

    monkeypatch.setattr(DynamoInUseStore, "refresh", late)
    done = registry.protect(f"{NAME}:v1")
    assert f"{NAME}@{digest} runs" in done.err
    assert "was deleted: `moorage repo restore" in done.err


_ACTIONS = {"TransactWriteItems": ("ConditionCheckItem", "DeleteItem", "PutItem")}
_READ_THERE = {"cloudformation:DescribeStacks", "cloudformation:ListExports", *ACTIONS}
"""What is asked for only where there is an AWS."""


def test_the_permissions_are_those_that_are_documented(
    registry: Protecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each action that the commands take is in the policy of docs/retention.md, and no other."""
    called: set[str] = set()
    client = aws.Aws.client

    def recorded(self: aws.Aws, service: str) -> Any:  # noqa: ANN401 - as client
        made = client(self, service)

        def note(model: Any, **_: object) -> None:  # noqa: ANN401 - botocore's own
            called.update(f"{service}:{name}" for name in _ACTIONS.get(model.name, (model.name,)))

        made.meta.events.register("before-call", note)
        return made

    monkeypatch.setattr(aws.Aws, "client", recorded)
    test_the_images_of_a_long_index_are_read_from_its_body(registry, monkeypatch, large=True)
    test_what_retention_is_about_to_remove_stays(registry)
    registry.protect(f"{NAME}@{Digest.of(b'other')}")
    registry.moorage(f"retention sources {registry.at}")
    registry.moorage(f"retention unprotect --name prod {registry.at}")
    page = (PROJECT / "docs" / "retention.md").read_text(encoding="utf-8")
    policy = json.loads(page.partition("<!-- policy: protect -->")[2].split("```")[1][4:])
    actions = [each["Action"] for each in policy["Statement"]]
    written = {name for each in actions for name in ([each] if isinstance(each, str) else each)}
    assert written == called | _READ_THERE
