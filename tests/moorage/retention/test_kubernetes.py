"""What kubectl prints: pods of every runtime, what makes pods, and lists that are not whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from moorage.common.errors import UsageError
from moorage.retention.kubernetes import running

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE, ID = "reg.io/a:v1", f"reg.io/a@sha256:{'1' * 64}"
DIGEST = ID.partition("@")[2]


def pod(
    spec: str, kind: str = "containers", status: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a pod with one container of an image, beside another one."""
    of = {"containers": "containerStatuses", "initContainers": "initContainerStatuses"}
    statuses = of.get(kind, "ephemeralContainerStatuses")
    containers = {
        "containers": [{"name": "other", "image": "o"}],
        kind: [{"name": "c", "image": spec}],
    }
    return {
        "kind": "Pod",
        "metadata": {"namespace": "prod", "name": "web-1"},
        "spec": containers,
        "status": {statuses: [{"name": "c", **status}]} if status else {},
    }


def images(*items: dict[str, Any]) -> list[tuple[str, str]]:
    """Return image and digest of all that runs, but for the container that every pod has."""
    found = running(json.dumps({"kind": "List", "items": items}))
    return [(each.image, each.digest) for each in found if each.image != "o"]


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, [(IMAGE, "")]),
        ({"image": IMAGE, "imageID": ""}, [(IMAGE, "")]),
        ({"image": IMAGE, "imageID": ID}, [(IMAGE, DIGEST), (ID, "")]),
        (
            {"image": IMAGE, "imageID": f"docker-pullable://{ID}"},
            [(IMAGE, DIGEST), (f"docker-pullable://{ID}", "")],
        ),
        ({"image": IMAGE, "imageID": DIGEST}, [(IMAGE, "")]),
        ({"image": IMAGE, "imageID": f"docker://{DIGEST}"}, [(IMAGE, "")]),
        ({"image": DIGEST, "imageID": ID}, [(IMAGE, DIGEST), (ID, "")]),
        (
            {"image": "other.io/b:v2", "imageID": f"other.io/b@{DIGEST}"},
            [(IMAGE, DIGEST), ("other.io/b:v2", DIGEST), (f"other.io/b@{DIGEST}", "")],
        ),
    ],
    ids=["not pulled", "pulling", "pulled", "docker", "config", "docker's config", "by id",
         "named by another repository"],
)  # fmt: skip
def test_the_digest_of_a_container_is_what_its_runtime_pulled(
    kind: str, status: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    """Under the pod's own name too: a runtime may say another repository of the same digest.

    A bare id is a guess: it is the image's config, on most runtimes.
    """
    item = pod(IMAGE, kind, status)
    assert images(item) == expected
    guesses = [each.guess for each in running(json.dumps(item)) if each.image == IMAGE]
    bare = "@" not in status.get("imageID", "@")
    assert guesses == [DIGEST if bare and status["imageID"] else ""]


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Deployment", lambda of: {"template": {"spec": of}}),
        ("CronJob", lambda of: {"jobTemplate": {"spec": {"template": {"spec": of}}}}),
    ],
)
def test_workloads_count_though_no_pod_runs(kind: str, spec: Any) -> None:  # noqa: ANN401 - a function of the table
    """A deployment without replicas, and the next run of a CronJob."""
    item = pod(IMAGE) | {"kind": kind}
    item["spec"] = spec(item["spec"])
    assert images(item) == [(IMAGE, "")]
    found = [*running(json.dumps(item))][-1]
    assert found.by == f"k8s prod/{kind.lower()}/web-1"


def test_a_volume_of_an_image_counts() -> None:
    """It is mounted, and pulled like any other."""
    item = pod("o")
    item["spec"]["volumes"] = [{"name": "v", "image": {"reference": IMAGE}}, {"name": "w"}]
    assert images(item) == [(IMAGE, "")]


def test_a_container_that_only_the_status_has_counts() -> None:
    """Its spec may be of a later version than its status."""
    item = pod("o", status={"image": IMAGE, "imageID": ID})
    item["spec"]["containers"] = [{"name": "new", "image": "o"}]
    assert images(item) == [(IMAGE, DIGEST), (ID, "")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "did kubectl fail?"),
        (" \n", "did kubectl fail?"),
        ("error: no context", "can't be read as JSON"),
        ("[]", "other JSON"),
        ('{"items": 1}', "other JSON"),
        ('{"items": ["a"]}', "other JSON"),
        ('{"metadata": [1]}', "other JSON"),
        ('{"items": [{"metadata": [1]}]}', "other JSON"),
        ('{"spec": {"containers": "a"}}', "other JSON"),
        ('{"spec": {"containers": [{"image": 5}]}}', "other JSON"),
        ('{"spec": {"containers": [{}], "volumes": [5]}}', "other JSON"),
        ('{"spec": {"containers": [{}]}, "status": {"containerStatuses": 5}}', "other JSON"),
        ('{"items": [], "metadata": {"continue": "abc"}}', "cut"),
    ],
)
def test_an_incomplete_list_is_an_error(text: str, said: str) -> None:
    """It is never taken for a cluster in which nothing runs."""
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        list(running(text))
