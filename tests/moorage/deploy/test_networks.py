"""DIRECT_FROM=region: AWS's own list of the region's networks goes into the package."""

from __future__ import annotations

import io
import ipaddress
import json
import random
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib import settings
from chalicelib.settings import Settings, SettingsError, is_within
from moorage.deploy import DeployError, networks
from moorage.deploy.networks import LONGEST, names_region, region_networks
from tests.moorage.deploy.cloud import CODE, STACK
from tests.moorage.deploy.cloudformation import REGION
from tests.support.issuer import StubResponse, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.moorage.deploy.cloud import Cloud
    from tests.support.issuer import Server

PATH = "/ip-ranges.json"


def published(v4: list[tuple[str, str]], v6: list[tuple[str, str]]) -> bytes:
    """Return such a file: networks with their regions, each for two services as AWS lists them."""
    kinds = (("prefixes", "ip_prefix", v4), ("ipv6_prefixes", "ipv6_prefix", v6))
    content: dict[str, Any] = {"syncToken": "1", "createDate": "2026-11-30-00-00-00"}
    for kind, name, listed in kinds:
        content[kind] = [
            {name: network, "region": region, "service": service, "network_border_group": region}
            for network, region in listed
            for service in ("AMAZON", "EC2")
        ]
    return json.dumps(content).encode()


FEW = published(
    [("3.5.0.0/17", REGION), ("3.5.128.0/17", REGION), ("52.94.0.0/22", "eu-west-1")],
    [("2600:1f18::/33", REGION), ("2a05:d018::/36", "eu-west-1")],
)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Where AWS publishes its networks."""
    assert networks.URL.startswith("https://")
    with serving() as server:
        server.pages[PATH] = StubResponse(FEW)
        monkeypatch.setattr(networks, "URL", server.url + PATH)
        yield server


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where a function finds its region's networks."""
    path = tmp_path / settings.REGION_FILE.name
    monkeypatch.setattr(settings, "REGION_FILE", path)
    return path


def read(direct_from: str) -> Settings:
    """Read the settings of a function."""
    names = ("BUCKET", "REGISTRY_TABLE", "UPLOADS_TABLE")
    given = {f"MOORAGE_{name}": "x" for name in names}
    return Settings.read({**given, "MOORAGE_DIRECT_FROM": direct_from})


def test_networks_of_the_region_are_joined(aws: Server) -> None:
    """Each once, whatever services it is for; those of other regions are left out."""
    del aws
    assert region_networks(REGION) == "3.5.0.0/16\n2600:1f18::/33\n"


def test_a_large_region_is_read_by_the_functions(aws: Server, packaged: Path) -> None:
    """More networks than an environment holds; each address of theirs is near, no other one."""
    source = random.Random(1)  # noqa: S311 - not a secret
    listed = {f"52.{n // 200}.{n % 200}.0/24" for n in source.sample(range(20_000), 900)}
    aws.pages[PATH] = StubResponse(published([(each, REGION) for each in sorted(listed)], []))
    packaged.write_text(region_networks(REGION), encoding="ascii")
    assert packaged.stat().st_size > 4096
    near = read("10.0.0.0/8, region").direct_from
    inside = [ipaddress.ip_network(each)[7] for each in listed]
    assert all(is_within(str(address), near) for address in [*inside, "10.1.2.3"])
    assert not is_within("53.0.0.1", near)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (StubResponse(b"", status=503), "answers 503"),
        (StubResponse(b"<html>"), "can't be read"),
        (StubResponse(b"[]"), "can't be read"),
        (StubResponse(b'{"prefixes": [{}]}'), "can't be read"),
        (StubResponse(published([("3.5.0.0", "x"), ("here", REGION)], [])), "can't be read"),
        (StubResponse(published([("3.5.0.1/16", REGION)], [])), "can't be read"),
        (StubResponse(published([("3.5.0.0/16", "eu-west-1")], [])), "names 0 networks"),
        (StubResponse(b" " * 100_001), "more than 100000 bytes"),
        (None, "no answer"),
    ],
)
def test_a_list_that_can_not_be_used_stops_the_deployment(
    answer: StubResponse | None,
    reason: str,
    aws: Server,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything was changed; a list without end is not read."""
    monkeypatch.setattr(networks, "LARGEST", 100_000)
    if answer is None:
        monkeypatch.setattr(networks, "URL", "http://127.0.0.1:1/")
    else:
        aws.pages[PATH] = answer
    said = cloud.refused("deploy", "--direct-from", "region").err
    assert "nothing was changed" in said
    assert reason in said
    assert cloud.find(STACK) is None
    assert cloud.buckets() == []


def test_the_region_is_looked_up_at_each_deployment(aws: Server, cloud: Cloud) -> None:
    """The option stays; the functions' code changes with the list, and with nothing else."""

    def deployed() -> tuple[str, str]:
        code = cloud.client("lambda").list_functions()["Functions"][0]["CodeSha256"]
        s3 = cloud.client("s3")
        keys = [each["Key"] for each in s3.list_objects_v2(Bucket=CODE)["Contents"]]
        bodies = [s3.get_object(Bucket=CODE, Key=key)["Body"].read() for key in keys]
        zips = [zipfile.ZipFile(io.BytesIO(body)) for body in bodies if body[:2] == b"PK"]
        texts = [each.read("chalicelib/region_networks.txt").decode() for each in zips]
        return code, "".join(sorted(texts))

    cloud.done("deploy", "--direct-from", "10.0.0.0/8,region")
    assert cloud.variables()["app.app"]["MOORAGE_DIRECT_FROM"] == "10.0.0.0/8,region"
    first = deployed()
    assert first[1] == "3.5.0.0/16\n2600:1f18::/33\n"
    assert f"{STACK}: nothing changed" in cloud.done("deploy").err
    assert deployed() == first
    aws.pages[PATH] = StubResponse(published([("3.6.0.0/16", REGION)], []))
    cloud.done("deploy")
    second = deployed()
    assert second[0] != first[0]
    assert "3.6.0.0/16\n" in second[1]
    assert len(aws.received) == 3
    cloud.done("deploy", "--direct-from", "none")
    assert len(aws.received) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("10.0.0.0/33", "10.0.0.0/33"),
        ("10.0.0.1/8", "has host bits set"),
        ("eu-west-1", "and the word `region`"),
        ("10.0.0.0/8," * 200, "are the most"),
    ],
)
def test_networks_that_functions_can_not_read_are_refused(text: str, reason: str) -> None:
    """By the command: a function would refuse each request."""
    with pytest.raises(DeployError, match=reason):
        names_region(text)
    assert len(text) < LONGEST or "most" in reason


def test_only_a_deployment_knows_its_region(packaged: Path) -> None:
    """A local registry says so, at its start."""
    assert not packaged.exists()
    with pytest.raises(SettingsError, match="only what `moorage deploy` packages"):
        read("region")
    assert not names_region("10.0.0.0/8 2001:db8::/32")
