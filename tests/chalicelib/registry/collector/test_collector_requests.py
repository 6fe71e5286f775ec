"""What a pass costs in requests to S3 and DynamoDB, counted at botocore."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.registry.collector.collector import Collector
from chalicelib.registry.service import Limits
from tests.chalicelib.registry.collector.pushing import image
from tests.support.calls import record_calls
from tests.support.registries import registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest

DAYS = 8 * 24 * 3600.0
MOST = Limits(body_inline=4096)


def filled(backend: Backend, repositories: int, waste: int) -> RegistryUnderTest:
    """Return a registry of images, each with so many blobs besides that nothing names, days ago."""
    registry = registry_over(backend.fresh(), MOST)
    for number in range(repositories):
        name = f"team/app-{number}"
        layers = [b"layer", *(b"waste %d of %d" % (each, number) for each in range(waste))]
        for data in (b"{}", *layers):
            digest = Digest.of(data)
            pushed = registry.ask("POST", f"{name}/blobs/uploads?digest={digest}", data)
            assert pushed.status == 201
        assert registry.ask("PUT", f"{name}/manifests/v1", image(b"layer")).status == 201
    registry.clock.offset += DAYS
    return registry


def requests(registry: RegistryUnderTest) -> Counter[str]:
    """Run the collector; return how many requests of each operation that took."""
    with record_calls(registry.s3, registry.dynamodb) as calls:
        report = registry.registry.collector.run(registry.clock.now() + 600)
    assert report.finished
    assert (report.errors, report.lost, report.skipped) == (0, (), {})
    return Counter(calls.operations("s3")) + Counter(calls.operations("dynamodb"))


def test_a_run_between_two_passes_is_two_requests(strict_moto: Backend) -> None:
    """So that an hourly schedule costs next to nothing."""
    registry = filled(strict_moto, 1, 0)
    requests(registry)
    assert requests(registry) == {"GetItem": 1, "Query": 1}


def test_a_quiet_pass_reads_all_rows_once_and_writes_its_state(strict_moto: Backend) -> None:
    """It also reads the facts of each repository in the catalog.

    Beside that it looks at what has its turn: a read a repository, and a HEAD a blob a month.
    """
    repositories = 6
    registry = filled(strict_moto, repositories, 0)
    requests(registry)  # which lists the bucket
    for _ in range(5):
        registry.clock.offset += DAYS / 8
        asked = requests(registry)
        turns = {name: asked.pop(name, 0) for name in ("BatchGetItem", "HeadObject")}
        noted = {"GetItem": 1 + repositories}
        assert asked == {**noted, "PutItem": 2, "Query": 2, "Scan": 1}
        assert turns["BatchGetItem"] <= repositories
        assert turns["HeadObject"] <= 2


def test_a_pass_that_lists_the_bucket_asks_for_the_records_of_all_links(
    strict_moto: Backend,
) -> None:
    """100 a request, each repository's apart; those of all objects are read once more."""
    layers = [b"%d" % number for number in range(130)]
    registry = registry_over(strict_moto.fresh(), Limits())
    for name in ("team/app", "team/other"):
        for data in (b"{}", *layers):
            target = f"{name}/blobs/uploads?digest={Digest.of(data)}"
            assert registry.ask("POST", target, data).status == 201
        assert registry.ask("PUT", f"{name}/manifests/v1", image(*layers)).status == 201
    registry.clock.offset += DAYS
    collector = Collector(registry.ports, Limits())  # which notes no facts
    with record_calls(registry.s3, registry.dynamodb) as calls:
        assert collector.run(registry.clock.now() + 600).finished
    assert Counter(calls.operations("s3"))["ListObjectsV2"] == 2
    assert Counter(calls.operations("dynamodb"))["BatchGetItem"] == 2 * 2 + 2


def test_deleting_a_blob_takes_a_mark_and_two_transactions(strict_moto: Backend) -> None:
    """The manifests and records of each repository are read once.

    Objects go by the thousand, and their rows of garbage by the hundred.
    """
    repositories, waste = 2, 8
    registry = filled(strict_moto, repositories, waste)
    quiet = filled(strict_moto, repositories, 0)
    asked = requests(registry)
    asked.subtract(requests(quiet))
    del asked["HeadObject"]  # of what has its turn today
    gone = repositories * waste
    assert asked.pop("BatchGetItem") <= 2 * repositories + 1
    assert {name: number for name, number in asked.items() if number} == {
        "UpdateItem": gone,
        "TransactWriteItems": 2 * gone + 1,
        "Query": repositories,
        "DeleteObjects": 1,
    }
    assert not [key for key in registry.stored() if b"waste" in registry.ports.objects.get(key)]
