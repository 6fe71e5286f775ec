"""Real clients push, pull, mount and delete beside the garbage collector.

What `moorage gc --dry-run` lists is what then goes, and nothing else; no image that was accepted
loses a byte; and when everything is deleted, and the times of grace are over, nothing is left.
MOORAGE_COLLECT_IMAGES is how many images are pushed (24), MOORAGE_COLLECT_SECONDS how long eight
clients run beside the collector (25).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from moorage.common.aws import Aws
from moorage.common.data import DataNames
from moorage.common.project import PROJECT
from tests.clients import daemons
from tests.clients.adapters.base import Workspace, temporary_workspace
from tests.clients.contents import read_layout
from tests.clients.many_images import DELETING, PushedImage, attach, delete, pull, push, write_image
from tests.clients.tools import ClientError
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.daemons import RegistryProcess

IMAGES = int(os.environ.get("MOORAGE_COLLECT_IMAGES", "24"))
SECONDS = float(os.environ.get("MOORAGE_COLLECT_SECONDS", "25"))
pytestmark = [pytest.mark.clients, pytest.mark.timeout(300 + 8 * IMAGES + 4 * SECONDS)]

GRACE = 6
"""Seconds, of the collector that runs beside eight clients."""
OF_A_REPOSITORY = 20
"""Images of one repository."""
KEPT = ("CATALOG ", "COLLECTOR ", "REPO HISTORY")
"""Rows that stay when all is gone: names, how far the collector is, and history for a year."""


@dataclass(frozen=True)
class Held:
    """What a local registry holds, looked at beside it."""

    aws: str

    def objects(self) -> set[str]:
        """All keys of the bucket."""
        pages = Aws(self.aws).client("s3").get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=DataNames().bucket)
        return {each["Key"] for page in found for each in page.get("Contents", ())}

    def rows(self) -> set[tuple[str, str]]:
        """The keys of all rows of the table `registry`."""
        pages = Aws(self.aws).client("dynamodb").get_paginator("scan")
        found = pages.paginate(TableName=DataNames().registry_table)
        return {(each["pk"]["S"], each["sk"]["S"]) for page in found for each in page["Items"]}

    def links(self) -> set[tuple[str, str]]:
        """All links: repository and digest."""
        return {
            (pk.removeprefix("REPO#"), sk.removeprefix("BLOB#"))
            for pk, sk in self.rows()
            if pk.startswith("REPO#") and sk.startswith("BLOB#")
        }

    def manifests(self) -> list[tuple[str, str]]:
        """All manifests: repository and digest."""
        return [
            (pk.removeprefix("REPO#"), sk.removeprefix("MANIFEST#"))
            for pk, sk in sorted(self.rows())
            if pk.startswith("REPO#") and sk.startswith("MANIFEST#")
        ]

    def states(self) -> dict[tuple[str, str], str]:
        """The state of each manifest, by repository and digest."""
        return {key: row["state"]["S"] for key, row in self._manifest_rows().items()}

    def age(self, name: str, digests: list[str], days: int) -> None:
        """Let manifests of a repository be pushed so many days ago, and pulled never."""
        dynamodb = Aws(self.aws).client("dynamodb")
        for digest in digests:
            dynamodb.update_item(
                TableName=DataNames().registry_table,
                Key={"pk": {"S": f"REPO#{name}"}, "sk": {"S": f"MANIFEST#{digest}"}},
                UpdateExpression="SET pushed_at = :then REMOVE pulled_at",
                ExpressionAttributeValues={":then": {"N": repr(time.time() - days * 86_400.0)}},
            )

    def _manifest_rows(self) -> dict[tuple[str, str], Any]:
        pages = Aws(self.aws).client("dynamodb").get_paginator("scan")
        found = pages.paginate(TableName=DataNames().registry_table)
        return {
            (row["pk"]["S"].removeprefix("REPO#"), row["sk"]["S"].removeprefix("MANIFEST#")): row
            for page in found
            for row in page["Items"]
            if row["sk"]["S"].startswith("MANIFEST#")
        }

    def let_pass(self, days: int, *more: str) -> list[dict[str, Any]]:
        """Let sweeper and, with `--collect`, collector come after some days; returns reports."""
        command = [sys.executable, "-m", "tests.clients.later", self.aws, str(days), *more]
        ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
        return [json.loads(line) for line in ran.stdout.splitlines()]


@contextmanager
def many_workspaces(number: int) -> Iterator[list[Workspace]]:
    """Give each of many clients a home of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(temporary_workspace()) for _ in range(number)]


def pushed_by_all(host: str, workspaces: list[Workspace], number: int) -> list[PushedImage]:
    """Push so many images, several at once."""

    def one(each: int) -> PushedImage:
        workspace = workspaces[each % len(workspaces)]
        layout = write_image(workspace.folder / f"image-{each}", each)
        name = f"{host}/many/app-{each // OF_A_REPOSITORY}"
        image = push(workspace, layout, f"{name}:v{each}", each)
        attach(workspace, image, each)
        return image

    # One thread a workspace: a client's home is not to be shared.
    def some(first: int) -> list[PushedImage]:
        return [one(each) for each in range(first, number, len(workspaces))]

    with ThreadPoolExecutor(len(workspaces)) as pool:
        lists = pool.map(some, range(len(workspaces)))
        return sorted((each for found in lists for each in found), key=lambda each: each.tag)


def deleted_by_all(workspaces: list[Workspace], images: list[PushedImage]) -> None:
    """Delete images with all their manifests, several at once."""

    def some(first: int) -> None:
        for number in range(first, len(images), len(workspaces)):
            delete(workspaces[first], images[number], number)

    with ThreadPoolExecutor(len(workspaces)) as pool:
        list(pool.map(some, range(len(workspaces))))


def pulled_whole(workspaces: list[Workspace], pushed: list[PushedImage]) -> None:
    """Pull all images, several at once; each is what was pushed."""

    def some(first: int) -> None:
        for number in range(first, len(pushed), len(workspaces)):
            image = pushed[number]
            assert pull(workspaces[first], image, number) == read_layout(image.layout)

    with ThreadPoolExecutor(len(workspaces)) as pool:
        list(pool.map(some, range(len(workspaces))))


def moorage(workspace: Workspace, line: str) -> Any:  # noqa: ANN401 - what the command's JSON holds
    """Run `moorage` and return the JSON that it prints."""
    return json.loads(workspace.run_line(f"moorage {line} --json"))


@contextmanager
def again_and_again(act: Callable[[], object]) -> Iterator[list[object]]:
    """Do something over and over beside the block; gives the results, and raises what it raises."""
    results: list[object] = []
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            results.append(act())

    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(run)
        try:
            yield results
        finally:
            stopping.set()
        ran.result()


def test_what_the_dry_run_lists_is_what_goes(tmp_path: Path) -> None:
    """Of many images by four clients some are deleted, whole; their time in the trash passes.

    Before that, a tag is deleted and brought back while a collector runs beside it.
    """
    with daemons.start_moorage("--no-gc") as registry, many_workspaces(4) as workspaces:
        held, own = Held(registry.aws), workspaces[0]
        gc = f"gc --aws-endpoint {registry.aws} --grace 1s"
        pushed = pushed_by_all(registry.gateway_host, workspaces, IMAGES)
        with again_and_again(lambda: moorage(workspaces[1], gc)) as runs:
            brought_back(own, pushed[0])
            until_two(runs)
        gone = pushed[1::3]
        deleted_by_all(workspaces, gone)
        blob(own, pushed[0].name)
        held.let_pass(15)
        time.sleep(3.5)  # a record waits for three times the grace: see limits_of

        listed = moorage(own, f"{gc} --dry-run")
        objects, links = held.objects(), held.links()
        (tmp_path / "list.json").write_text(json.dumps(listed))
        findings = listed["findings"]
        assert {each["kind"] for each in findings} == {"link", "blob"}
        report = moorage(own, f"{gc} --only {tmp_path / 'list.json'}")

        gone_links = {(e["repository"], e["digest"]) for e in findings if e["kind"] == "link"}
        gone_keys = {each["key"] for each in findings if each["kind"] == "blob"}
        assert len(gone_keys) > 4 * len(gone), "an image has a layer and a config per platform"
        assert links - held.links() == gone_links
        assert objects - held.objects() == gone_keys
        assert (report["links"], report["objects"]) == (len(gone_links), len(gone_keys))
        assert report["freed"] == listed["frees"] > 0
        assert moorage(own, f"{gc} --dry-run") == {"findings": [], "frees": 0}
        pulled_whole(workspaces, [each for each in pushed if each not in gone])


def blob(workspace: Workspace, name: str) -> None:
    """Push a blob that no manifest will ever name."""
    file = workspace.fresh("orphan")
    file.write_bytes(os.urandom(5000))
    workspace.run_line(f"oras blob push --plain-http {name} {file}")


def until_two(runs: list[object]) -> None:
    """Wait until a collector has made two passes."""
    until(lambda: len(runs) >= 2, "the collector made two passes", 60 + 2 * IMAGES)


def brought_back(workspace: Workspace, image: PushedImage) -> None:
    """Delete an image and its tag, bring it back, and pull it byte for byte."""
    workspace.run_line(f"crane delete --insecure {image.name}@{image.digests[0]}")
    with pytest.raises(ClientError):
        pull(workspace, image, 0)
    workspace.run_line(f"moorage repo restore {image.name}@{image.digests[0]}")
    assert pull(workspace, image, 0) == read_layout(image.layout)


def test_what_retention_previews_is_what_goes_and_what_runs_stays(tmp_path: Path) -> None:
    """Images of three years ago expire, whole; one of them runs somewhere, and two are young."""
    with daemons.start_moorage("--no-gc") as registry, many_workspaces(4) as workspaces:
        held, own, at = Held(registry.aws), workspaces[0], f"--aws-endpoint {registry.aws}"
        host = registry.gateway_host
        pushed = pushed_by_all(host, workspaces, max(6, IMAGES // 4))
        for image in pushed[2:]:
            held.age(image.name.removeprefix(f"{host}/"), image.digests, 3 * 365)
        runs = pushed[2]
        (tmp_path / "runs").write_text(f"{runs.name}@{runs.digests[0]}\n")
        protect = f"retention protect {tmp_path}/runs --from file --name prod --registry {host}"
        own.run_line(f"moorage {protect} {at}")
        rule = {"name": "old", "repositories": ["many/**"], "tags": ["*"], "brake": 100}
        rules = {"rules": [{**rule, "expire": {"days_since_push": 365}}]}
        (tmp_path / "rules").write_text(json.dumps(rules))
        own.run_line(f"moorage retention set {tmp_path}/rules {at}")

        preview = moorage(own, f"retention preview {at}")
        going = {(each["name"], one) for each in preview["repositories"] for one in each["going"]}
        assert going == {
            (image.name.removeprefix(f"{host}/"), digest)
            for image in pushed[3:]
            for digest in image.digests
        }
        (report,) = held.let_pass(0, "--expire")
        assert report == {"finished": True, "manifests": len(going)}
        assert {key for key, state in held.states().items() if state == "trashed"} == going
        pulled_whole(workspaces, pushed[:3])
        with pytest.raises(ClientError):
            pull(own, pushed[3], 0)
        own.run_line(f"moorage repo restore {pushed[3].name}@{pushed[3].digests[0]}")
        assert pull(own, pushed[3], 0) == read_layout(pushed[3].layout)


def test_no_image_that_was_accepted_loses_a_byte_and_in_the_end_nothing_is_left() -> None:
    """Eight clients push, copy and delete beside a collector whose grace is seconds.

    There is no trash, so that the layers that they share go and come back all the time.
    """
    options = ("--grace", str(GRACE))
    env = {"MOORAGE_TRASH_DAYS": "0"}
    with daemons.start_moorage(*options, env=env) as registry, many_workspaces(8) as workspaces:
        held = Held(registry.aws)
        host, name = registry.gateway_host, f"{registry.gateway_host}/storm/app-0"
        blob(workspaces[0], name)
        (orphan_key,) = held.objects()
        ending = time.monotonic() + SECONDS
        with ThreadPoolExecutor(len(workspaces)) as pool:
            tried = [
                pool.submit(Customer(registry, workspace, number).run, ending)
                for number, workspace in enumerate(workspaces)
            ]
            accepted = [each for one in tried for each in one.result()]
        assert len(accepted) > len(workspaces)
        pulled_whole(workspaces, accepted)
        until(lambda: orphan_key not in held.objects(), "the collector came by", 90)
        for number, (repository, digest) in enumerate(held.manifests()):
            line = DELETING[number % len(DELETING)]
            there = f"{host}/{repository}"
            workspaces[0].run_line(line, name=there, digest=digest, host=host)
        passes = held.let_pass(60, "--collect")
        assert (passes[-1]["finished"], {each["errors"] for each in passes}) == (True, {0})
        assert held.objects() == set()
        kinds = {f"{pk.partition('#')[0]} {sk.partition('#')[0]}" for pk, sk in held.rows()}
        assert {each for each in kinds if not each.startswith(KEPT)} == set()


@dataclass
class Customer:
    """One of eight: it pushes, copies to another repository, and deletes, again and again."""

    registry: RegistryProcess
    workspace: Workspace
    number: int
    refused: int = 0

    def run(self, ending: float) -> list[PushedImage]:
        """Go on until a time of the monotonic clock; return what was accepted and is there."""
        there: list[PushedImage] = []
        turn = 0
        while time.monotonic() < ending:
            number = self.number + 8 * turn
            turn += 1
            layout = write_image(self.workspace.folder / f"image-{number}", number)
            name = f"{self.registry.gateway_host}/storm/app-{number % 5}"
            try:
                image = push(self.workspace, layout, f"{name}:v{number}", number)
                there.append(image)
                attach(self.workspace, image, number)
            except ClientError:
                self.refused += 1  # slower than the grace, or a layer went in the middle of it
                continue
            if turn % 2 == 0:
                there += self._copied(image, turn)
            if turn % 3 == 0:
                delete(self.workspace, there.pop(0), number)
        return there

    def _copied(self, image: PushedImage, turn: int) -> list[PushedImage]:
        target = f"{self.registry.gateway_host}/storm/copy-{uuid4().hex[:6]}"
        line = f"crane copy --insecure {image.reference} {target}:c{turn}"
        try:
            self.workspace.run_line(line)
        except ClientError:
            self.refused += 1
            return []
        return [PushedImage(target, f"c{turn}", image.layout)]
