"""`moorage push`, `pull` and `copy` as a person calls them, against a registry with faults."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import threading
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.descriptor import MediaType
from chalicelib.digest import Digest
from moorage.transfer.kept_sessions import user_state
from tests.moorage.transfer.images import Content, noise, packed, saved
from tests.support.fake_registry import UploadFault
from tests.support.whole_registry import ReadFault, run_whole_registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.moorage.transfer.conftest import Runner

LAYERS = (noise(300_000, 1), noise(70_000, 2), noise(10, 3), b"")
CHUNK = ("--chunk-size", "65536")
SAVED_DIGEST = "sha256:48cd5b2cd4c8252ee8b6a2d8fe46a12c5458095c57f47af31c706bf6ffc01ef4"
"""Of the image that is made of LAYERS[0], LAYERS[1], LAYERS[0]."""


@pytest.fixture
def content() -> Content:
    """An image of four layers, one of them empty, tagged v1."""
    content = Content()
    content.tag(content.image(*LAYERS), "v1")
    return content


def two_platforms(content: Content) -> dict[str, Any]:
    """Make an image for two platforms, one of them in an index of its own; return its entry."""
    amd = content.image(noise(5000, 4))
    arm = content.image(noise(6000, 5), architecture="arm64")
    return content.index(
        {**amd, "platform": {"os": "linux", "architecture": "amd64"}},
        {**content.index(arm), "platform": {"os": "linux", "architecture": "arm64"}},
    )


def push(run: Runner, *words: str | Path, fails: bool = False) -> str:
    """Push to team/app:1; return what was said."""
    place = f"{run.host}/team/app:1"
    ran = run("push", words[0], place, *words[1:], fails=fails)
    return ran.err if fails else ran.out.strip()


def as_folder(content: Content, folder: Path) -> str:
    """Return the source of a layout in a folder."""
    return f"oci:{content.folder(folder / 'image')}:v1"


def layout_files(run: Runner) -> set[Path]:
    """Return all files but those that the user's commands keep for themselves."""
    paths = {path for path in run.folder.rglob("*") if path.is_file()}
    return {path for path in paths if not path.is_relative_to(run.home)}


def as_tar(content: Content, folder: Path) -> str:
    """Return the source of a layout in a tar archive."""
    (folder / "image.tar").write_bytes(packed(content.files()))
    return f"oci:{folder}/image.tar"


def as_zipped_archive(content: Content, folder: Path) -> str:
    """Return the source of a layout in a compressed archive whose names begin with `./`."""
    files = {f"./{name}": body for name, body in content.files().items()}
    (folder / "image.tar.gz").write_bytes(gzip.compress(packed(files)))
    return f"oci-archive:{folder}/image.tar.gz:v1"


@pytest.mark.parametrize("source", [as_folder, as_tar, as_zipped_archive])
def test_a_layout_is_pushed_and_pulled_byte_for_byte(
    source: Callable[[Content, Path], str],
    content: Content,
    run: Runner,
) -> None:
    """The digest is on stdout alone, and the line that pulls it is said."""
    root = content.entries[0]["digest"]
    pushed = run("push", source(content, run.folder), f"{run.host}/team/app:1", *CHUNK)
    assert pushed.out == f"{root}\n"
    assert pushed.err.endswith(f"docker pull {run.host}/team/app@{root}\n")
    assert max(run.fake.chunks) <= 65536
    pulled = run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy:mine")
    assert pulled.out == f"{root}\n"
    stored = {path.name: path.read_bytes() for path in (run.folder / "copy/blobs/sha256").iterdir()}
    assert stored == {key.partition(":")[2]: body for key, body in content.stored.items()}
    index = json.loads((run.folder / "copy/index.json").read_bytes())
    assert [each["annotations"] for each in index["manifests"]] == [
        {"org.opencontainers.image.ref.name": "mine"}
    ]
    assert sorted(path.name for path in (run.folder / "copy").iterdir()) == [
        *("blobs", "index.json", "oci-layout")
    ]


@pytest.mark.parametrize(("old", "up"), [(True, "../"), (True, ""), (False, "")])
@pytest.mark.parametrize("way", ["file", "stream", "pipe"])
def test_what_docker_saved_becomes_the_same_image_each_time(
    *,
    old: bool,
    up: str,
    way: str,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Layers stay as they are; the manifest is made, and is the same from each layout."""
    archive = saved(LAYERS[0], LAYERS[1], LAYERS[0], old=old, up=up)
    (run.folder / "saved.tar").write_bytes(archive)
    source = f"docker-archive:{run.folder}/saved.tar"
    if way == "stream":
        source = "docker-archive:-"
        monkeypatch.setattr(sys, "stdin", (run.folder / "saved.tar").open())
    elif way == "pipe":
        # A shell's <(docker save IMAGE).
        reads, writes = os.pipe()
        source = f"docker-archive:/dev/fd/{reads}"
        threading.Thread(target=_write_all, args=(writes, archive)).start()
    digest = push(run, source)
    assert digest == SAVED_DIGEST
    media_type, body = run.fake.manifests["team/app", "1"]
    manifest = json.loads(body)
    assert media_type == manifest["mediaType"] == MediaType.OCI_MANIFEST
    assert [run.fake.blobs[each["digest"]] for each in manifest["layers"]] == [
        *(LAYERS[0], LAYERS[1], LAYERS[0])
    ]
    assert {each["mediaType"] for each in manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar"
    }


def _write_all(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


@pytest.mark.parametrize("config", [{"type": "layers"}, {"type": "layers", "diff_ids": None}])
@pytest.mark.parametrize("layers", [None, []])
def test_an_image_without_layers_is_pushed(
    config: dict[str, object], layers: list[str] | None, run: Runner
) -> None:
    """Docker saves one that has metadata alone, with lists that are null or left out."""
    image = {"Config": "c.json", "RepoTags": ["app:1"], "Layers": layers}
    files = {"c.json": json.dumps({"rootfs": config}), "manifest.json": json.dumps([image])}
    path = run.folder / "saved.tar"
    path.write_bytes(packed({name: text.encode() for name, text in files.items()}))
    push(run, f"docker-archive:{path}")
    assert json.loads(run.fake.manifests["team/app", "1"][1])["layers"] == []


@pytest.mark.parametrize(
    ("saved_as", "named", "found"),
    [
        ("app:latest", "app", True),
        ("app:1", "docker.io/library/app:1", True),
        ("team/app:1", "docker.io/team/app:1", True),
        ("localhost/app:1", "app:1", True),
        ("docker.io/library/app:1", "app:1", True),
        ("app:1", "team/app:1", False),
        ("app:1", "app", False),
    ],
)
def test_an_image_is_found_by_any_name_that_docker_takes(
    *, saved_as: str, named: str, found: bool, run: Runner
) -> None:
    """In an archive, which has the short name of docker's or the long one of podman's."""
    path = run.folder / "saved.tar"
    path.write_bytes(saved(noise(10), tag=saved_as))
    ran = run("push", f"docker-archive:{path}:{named}", f"{run.host}/x:1", fails=not found)
    assert found or f"its images are: {saved_as}" in ran.err


def test_layers_are_compressed_on_demand_and_left_where_they_are(
    run: Runner,
) -> None:
    """`--compress` makes the same bytes each time; what is compressed is not compressed again."""
    for name, zipped in (("plain", False), ("zipped", True)):
        (run.folder / name).write_bytes(saved(*LAYERS, old=False, zipped=zipped))
    digests = [
        push(run, f"docker-archive:{run.folder}/{name}", *more)
        for name, more in (("plain", ["--compress"]), ("plain", ["--compress"]), ("zipped", []))
    ]
    assert digests[0] == digests[1]
    for digest in digests:
        manifest = json.loads(run.fake.manifests["team/app", digest][1])
        for layer, expected in zip(manifest["layers"], LAYERS, strict=True):
            assert layer["mediaType"].endswith(".tar+gzip")
            assert gzip.decompress(run.fake.blobs[layer["digest"]]) == expected


def test_an_image_that_was_pulled_for_docker_is_pushed_again(
    content: Content,
    run: Runner,
) -> None:
    """The archive has the image's name and its layers in order."""
    push(run, as_folder(content, run.folder))
    archive = run.folder / "image.tar"
    run("pull", f"{run.host}/team/app:1", f"docker-archive:{archive}")
    run("push", f"docker-archive:{archive}:{run.host}/team/app:1", f"{run.host}/other:1")
    manifest = json.loads(run.fake.manifests["other", "1"][1])
    assert [run.fake.blobs[each["digest"]] for each in manifest["layers"]] == list(LAYERS)
    again = run("pull", f"{run.host}/team/app:1", f"docker-archive:{archive}", fails=True)
    assert f"{archive} is there already" in again.err


@pytest.mark.parametrize(
    ("named", "tags"), [("", []), (":app", ["app:latest"]), (":r:5000/app:2", ["r:5000/app:2"])]
)
def test_what_is_pulled_by_its_digest_has_the_name_that_is_given(
    named: str, tags: list[str], content: Content, run: Runner
) -> None:
    """Or no name: docker can't load an image that is named by a digest or has no tag."""
    digest = push(run, as_folder(content, run.folder))
    archive = run.folder / "image.tar"
    run("pull", f"{run.host}/team/app@{digest}", f"docker-archive:{archive}{named}")
    with tarfile.open(archive) as opened:
        manifest = opened.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)[0]["RepoTags"] == tags


def test_all_platforms_are_moved_or_the_one_that_is_wanted(
    run: Runner,
) -> None:
    """An index in an index comes whole; an archive for docker takes one platform."""
    content = Content()
    root = two_platforms(content)
    content.tag(root)
    assert push(run, f"oci:{content.folder(run.folder / 'image')}") == root["digest"]
    run("pull", f"{run.host}/team/app@{root['digest']}", f"oci-archive:{run.folder}/all.tar")
    assert (
        run("push", f"oci-archive:{run.folder}/all.tar", f"{run.host}/b:1").out.strip()
        == root["digest"]
    )
    one = run("pull", f"{run.host}/b:1", f"oci:{run.folder}/one", "--platform", "linux/amd64")
    assert one.out.strip() == json.loads(content.stored[root["digest"]])["manifests"][0]["digest"]
    words = (
        "pull",
        f"{run.host}/b:1",
        f"docker-archive:{run.folder}/x.tar",
        "--platform",
        "linux/mips",
    )
    refused = run(*words, fails=True)
    assert "has no platform linux/mips: give --platform with one of linux/amd64" in refused.err


def test_an_index_without_the_wanted_platform_is_an_error(content: Content, run: Runner) -> None:
    """By push, copy and pull, with what to do; nothing of it gets a name. One of them is pulled."""
    index = two_platforms(content)
    content.entries.clear()
    content.tag(index, "v1")
    source = as_folder(content, run.folder)
    push(run, source)
    missing = json.loads(content.stored[index["digest"]])["manifests"][0]["digest"]
    del run.fake.manifests["team/app", missing]
    for words in (
        ("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy"),
        ("copy", f"{run.host}/team/app:1", f"{run.host}/other:1"),
    ):
        told = run(*words, fails=True).err
        assert f"/team/app:1 names {missing[:19]}, which the registry lacks: have the" in told
    assert not (run.folder / "copy/index.json").exists()
    (run.folder / "image/blobs" / missing.replace(":", "/")).unlink()
    assert f"lacks {missing[:19]}: copy the image again" in push(run, source, fails=True)
    assert ("other", "1") not in run.fake.manifests
    run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/one", "--platform", "linux/arm64")


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_has_nothing_of_an_image_whose_pull_was_interrupted(
    kind: str, run: Runner
) -> None:
    """Neither its blobs, whole or partial, nor its entry in the index."""
    wholes: list[list[str]] = []
    for tag, seed in (("v1", 1), ("v2", 2)):
        content = Content()
        content.tag(content.image(noise(100_000, seed), noise(90_000, seed + 2)))
        run("push", f"oci:{content.folder(run.folder / tag)}", f"{run.host}/x:{tag}")
        wholes.append(sorted(content.files()))
    path = run.folder / "image.tar"
    work = run.folder / "image.tar.partial"
    run("pull", f"{run.host}/x:v1", f"oci:{work}")
    run("pull", f"{run.host}/x:v2", f"{kind}:{path}")
    with tarfile.open(path) as opened:
        names = sorted(opened.getnames())
        assert len(names) == 4 if kind == "docker-archive" else names == wholes[1]
        if kind == "oci-archive":
            index = opened.extractfile("index.json")
            assert index is not None
            assert len(json.load(index)["manifests"]) == 1
    assert not work.exists()


@pytest.mark.parametrize("api", [True, False])
def test_referrers_come_along_in_both_directions(
    *,
    api: bool,
    run: Runner,
) -> None:
    """Those of the image and of its referrers; without the API they are under the fallback tag."""
    content = Content()
    root = content.image(noise(100))
    signature = content.image(noise(50, 7), subject=root)
    of_signature = content.image(noise(40, 8), subject=signature)
    content.tag(root, "v1")
    content.tag(signature)
    content.tag(of_signature)
    run.fake.referrers_api = api
    source = as_folder(content, run.folder)
    push(run, source)
    assert ("team/app", signature["digest"]) not in run.fake.manifests
    push(run, source, "--referrers")
    push(run, source, "--referrers")
    assert ("team/app", of_signature["digest"]) in run.fake.manifests
    if not api:
        tag = root["digest"].replace(":", "-")
        (listed,) = json.loads(run.fake.manifests["team/app", tag][1])["manifests"]
        assert listed["digest"] == signature["digest"]
    run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy:v1", "--referrers")
    run("push", f"oci:{run.folder}/copy:v1", f"{run.host}/back:1", "--referrers")
    assert {digest for name, digest in run.fake.manifests if name == "back"} >= {
        each["digest"] for each in (root, signature, of_signature)
    }


@pytest.mark.parametrize("wrong", ["{}", '""', "null", "7", "[7]", "[{}]", '[{"digest": 7}]'])
@pytest.mark.parametrize("command", ["push", "pull"])
def test_a_fallback_tag_of_another_form_is_an_error(command: str, wrong: str, run: Runner) -> None:
    """It is no list of referrers, and is left as it is."""
    run.fake.referrers_api = False
    content = Content()
    root = content.image(noise(100))
    content.tag(root, "v1")
    content.tag(content.image(noise(50, 7), subject=root))
    source = as_folder(content, run.folder)
    push(run, source)
    key = ("team/app", root["digest"].replace(":", "-"))
    body = f'{{"schemaVersion": 2, "manifests": {wrong}}}'.encode()
    run.fake.manifests[key] = ("application/vnd.oci.image.index.v1+json", body)
    places = (source, f"{run.host}/team/app:1")
    if command == "pull":
        places = (f"{run.host}/team/app:1", f"oci:{run.folder}/copy")
    refused = run(command, *places, "--referrers", fails=True)
    assert "a list of referrers can't be read" in refused.err
    assert run.fake.manifests[key][1] == body


@pytest.mark.parametrize("least", ["9" * 5000, "\u0667", "-1", "x", ""])
def test_a_least_chunk_that_is_no_number_is_none(least: str, run: Runner) -> None:
    """The chunks are as large as ever."""
    content = Content()
    content.tag(content.image(noise(100_000)), "v1")
    source = as_folder(content, run.folder)
    told = run.fake._told  # noqa: SLF001 - it has no other hook

    def odd(*asked: Any, **headers: Any) -> Any:  # noqa: ANN401 - as the method takes them
        response = told(*asked, **headers)
        response.headers["OCI-Chunk-Min-Length"] = least
        return response

    with mock.patch.object(run.fake, "_told", odd):
        push(run, source, *CHUNK)
    assert max(run.fake.chunks) == 65536


def test_two_pulls_into_one_layout_keep_both_images(run: Runner) -> None:
    """Each replaces what has its own tag, and leaves the other's unfinished layers."""
    content = Content()
    for number in (1, 2):
        content.tag(content.image(noise(100, number)), f"v{number}")
    image = content.folder(run.folder / "image")
    for number in (1, 2):
        run("push", f"oci:{image}:v{number}", f"{run.host}/x:{number}")
    unfinished = run.folder / "copy/.partial/sha256-of-another"
    unfinished.parent.mkdir(parents=True)
    unfinished.touch()
    for number in (1, 2, 1):
        run("pull", f"{run.host}/x:{number}", f"oci:{run.folder}/copy")
    listed = json.loads((run.folder / "copy/index.json").read_bytes())["manifests"]
    assert {each["digest"] for each in listed} == {each["digest"] for each in content.entries}
    assert len(listed) == 2
    assert unfinished.exists()


def test_existing_layers_are_not_sent_again(
    content: Content,
    run: Runner,
) -> None:
    """A second push and a second pull move no layer."""
    source = as_folder(content, run.folder)
    push(run, source)
    run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy")
    run.fake.log.clear()
    again = run("push", source, f"{run.host}/team/app:1", "--json").events
    assert {each["outcome"] for each in again if each["event"] == "end"} == {"there"}
    assert (again[-1]["event"], again[-1]["bytes"]) == ("done", 0)
    run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy")
    assert {(method, "/blobs/" in path) for method, path in run.fake.log} == {
        *[("HEAD", True), ("GET", False), ("PUT", False)]
    }


@pytest.mark.parametrize("way", ["copy", "copy by another name", "push", "push unasked"])
def test_layers_of_the_same_registry_are_mounted(
    way: str,
    content: Content,
    run: Runner,
) -> None:
    """No byte of a layer moves; a registry that mounts nothing is sent them."""
    source = as_folder(content, run.folder)
    push(run, source)
    words = {
        "copy": ["copy", f"{run.host}/team/app:1"],
        "copy by another name": ["copy", f"{run.fake.url.upper()}/team/app:1"],
        "push": ["push", source, "--mount-from", "team/app"],
        "push unasked": ["push", source],
    }[way]
    moved = run(*words, f"{run.host}/mounted:1", "--json").events
    assert {each["outcome"] for each in moved if each["event"] == "end"} == {"mounted"}
    run.fake.mounts = False
    run(*words, f"{run.host}/sent:1")
    assert run.fake.manifests["sent", "1"] == run.fake.manifests["mounted", "1"]


def test_an_image_is_copied_between_registries_without_a_file(
    content: Content,
    run: Runner,
) -> None:
    """All platforms and bytes arrive."""
    content.tag(two_platforms(content), "all")
    run("push", f"oci:{content.folder(run.folder / 'i')}:all", f"{run.host}/a:1")
    before = layout_files(run)
    with run_whole_registry() as other:
        copied = run("copy", f"{run.host}/a:1", f"{other.url.removeprefix('http://')}/b:2")
        assert copied.out.strip() == content.entries[-1]["digest"]
        digest = json.loads(run.fake.manifests["a", "1"][1])["manifests"][0]["digest"]
        assert other.manifests["b", "2"] == run.fake.manifests["a", "1"]
        assert other.manifests["b", digest] == run.fake.manifests["a", digest]
        assert {str(Digest.of(each)) for each in other.blobs.values()} == other.blobs.keys()
    assert layout_files(run) == before


@given(
    faults=st.lists(st.sampled_from([None, *UploadFault]), max_size=6),
    takes_whole=st.booleans(),
    least_chunk=st.sampled_from([0, 100_000]),
    parallel=st.sampled_from(["1", "4"]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_uploads_with_random_faults_store_the_right_bytes(  # noqa: PLR0913 - hypothesis's and fixtures
    *,
    faults: list[UploadFault | None],
    takes_whole: bool,
    least_chunk: int,
    parallel: str,
    content: Content,
    run: Runner,
) -> None:
    """Whatever breaks, is lost or is kept in part: what the registry has is the image."""
    run.renew()
    run.fake.faults, run.fake.takes_whole, run.fake.least_chunk = (
        list(faults),
        takes_whole,
        least_chunk,
    )
    push(run, as_folder(content, run.folder), *CHUNK, "--parallel", parallel)
    blobs = {key: body for key, body in content.stored.items() if key in run.fake.blobs}
    assert run.fake.blobs == blobs
    assert len(blobs) == len(LAYERS) + 1
    assert all(size >= least_chunk for size in run.fake.chunks if size == max(run.fake.chunks))


@given(
    faults=st.lists(st.sampled_from([None, *ReadFault]), max_size=8),
    ranges=st.booleans(),
    elsewhere=st.booleans(),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_downloads_with_random_faults_write_the_right_bytes(
    *,
    faults: list[ReadFault | None],
    ranges: bool,
    elsewhere: bool,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ranges or without, from the registry or from where it leads to."""
    run.renew()
    monkeypatch.setattr("moorage.transfer.layout_target.PIECE", 65536)
    content = Content()
    root = content.image(*LAYERS)
    content.tag(root, "v1")
    push(run, as_folder(content, run.folder))
    run.fake.read_faults, run.fake.ranges = list(faults), ranges
    run.fake.redirects_to = run.fake.url if elsewhere else ""
    copy = run.folder / f"copy-{len(list(run.folder.iterdir()))}"
    run("pull", f"{run.fake.url}/team/app:1", f"oci:{copy}")
    for digest, body in content.stored.items():
        assert (copy / "blobs" / digest.replace(":", "/")).read_bytes() == body


def test_a_login_is_sent_to_the_registry_alone(
    content: Content,
    run: Runner,
) -> None:
    """Tokens are asked for by scope, replaced when they end, and not sent to the storage."""
    run.log_in()
    assert run.fake.scopes is not None
    run.fake.token_seconds = 1
    push(run, as_folder(content, run.folder), "--mount-from", "team/base")
    assert run.fake.scopes[:2] == ["repository:team/app:pull,push", "repository:team/base:pull"]
    with run_whole_registry() as storage:
        storage.blobs = run.fake.blobs
        run.fake.redirects_to = storage.url
        run.fake.scopes.clear()
        run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy")
        assert run.fake.scopes[0] == "repository:team/app:pull"
        assert storage.authorizations == {""}
        assert len(storage.log) == len([each for each in run.fake.blobs.values() if each])
    run.log_in("wrong")
    refused = push(run, as_folder(content, run.folder), fails=True)
    assert "does not let this login in (401: who is that?): log in with `moorage login`" in refused
    assert "wrong" not in refused


def test_a_token_that_ends_in_a_push_is_replaced(
    content: Content,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The registry refuses it in the middle of a layer, and the chunk is sent with another one."""
    run.log_in()
    upload = run.fake._upload  # noqa: SLF001 - it has no other hook

    def forget(*arguments: Any) -> Any:  # noqa: ANN401 - as it is called
        run.fake.tokens = set()
        return upload(*arguments)

    monkeypatch.setattr(run.fake, "_upload", forget)
    push(run, as_folder(content, run.folder), *CHUNK, "--parallel", "1")
    assert run.fake.scopes is not None
    assert len(run.fake.scopes) > 5
    assert run.fake.blobs[str(Digest.of(LAYERS[0]))] == LAYERS[0]


def test_bytes_that_are_not_of_their_digest_are_refused(
    content: Content,
    run: Runner,
) -> None:
    """By the registry when pushed, by the command when pulled; nothing wrong gets a name."""
    push(run, as_folder(content, run.folder))
    digest = str(Digest.of(LAYERS[1]))
    run.fake.blobs[digest] = noise(len(LAYERS[1]), 9)
    refused = run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy", fails=True)
    assert f"{digest[:19]} came with other bytes than its digest" in refused.err
    assert not (run.folder / "copy/index.json").exists()
    assert not (run.folder / "copy/blobs" / digest.replace(":", "/")).exists()
    (run.folder / "image/blobs" / digest.replace(":", "/")).write_bytes(noise(len(LAYERS[1]), 9))
    # Else the registry would mount the right bytes.
    shutil.rmtree(user_state("blobs"))
    refused = run("push", f"oci:{run.folder}/image", f"{run.host}/new:1", fails=True)
    assert f"to push {digest[:19]} is refused (status 400" in refused.err
    assert ("new", "1") not in run.fake.manifests


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("push {image} {host}/x:1:2", 2, "is not a tag"),
        ("push {image} {host}/X:1", 2, "is not a repository name"),
        ("push {image} app:1", 2, "names no registry: write it as registry.example.com/NAME:TAG"),
        ("push {image} http://r.example.com/x:1", 1, "has no TLS: logins and images would"),
        ("push {image}:v9 {host}/x:1", 1, "has no image 'v9'; its tags are: v1"),
        ("push image {host}/x:1", 2, "is none of oci:PATH[:TAG], oci-archive:PATH[:TAG], docker-"),
        ("push oci:{folder}/none {host}/x:1", 1, "there is no "),
        ("push docker-archive:{folder}/image/index.json {host}/x:1", 1, "is no tar archive"),
        ("push {image} {host}/x:1 --compress", 2, "--compress is for docker-archive:"),
        ("push {image} {host}/x:1 --mount-from UP", 2, "--mount-from: 'UP' is not a repository"),
        ("push {image} {host}/x:1 --json --quiet", 2, "'--quiet' and '--json' don't go together"),
        ("push {image} {host}/x@sha256:{zeros}", 1, "and not the sha256:0000"),
        ("push docker-daemon:app {host}/x:1", 1, "there is no socket of docker's or podman's"),
        ("pull {host}/none:1 oci:{folder}/copy", 1, "to pull 1 is refused (status 404): look at"),
        ("pull {host}/none:1 docker-daemon:x", 2, "is none of oci:PATH[:TAG], oci-archive:PATH"),
        ("pull {host}/none:1 oci:{folder}/image/index.json", 1, "is a file: name a folder"),
        ("pull {host}/none:1 oci:{folder}/image/blobs", 1, "holds something else than an OCI"),
        *(
            (f"pull {{host}}/x:1 {kind}:{path}", 2, "is not pulled to standard output, because")
            for kind in ("docker-archive", "oci-archive", "oci")
            for path in ("-", "/dev/stdout", "/dev/fd/1")
        ),
        ("pull {host}/x:1 docker-archive:{folder}/a --referrers", 2, "no place for --referrers"),
        ("push docker-archive:{folder}/image {host}/x:1", 1, "/image is a folder: push it as oci:"),
        ("push docker-archive:{folder}/none {host}/x:1", 1, "can't be read: [Errno 2] No such"),
        ("push {image} 127.0.0.1:1/x:1 --patience 0.1", 1, "http://127.0.0.1:1 can't be reached"),
    ],
)
def test_an_error_is_one_line_with_advice(
    words: str,
    status: int,
    told: str,
    content: Content,
    run: Runner,
) -> None:
    """A usage error says where the help is."""
    image = f"oci:{content.folder(run.folder / 'image')}"
    filled = words.format(image=image, host=run.host, folder=run.folder, zeros="0" * 64)
    ran = run(*filled.split(), fails=True)
    assert (ran.status, ran.out) == (status, "")
    problem, *hint = ran.err.splitlines()
    assert told in problem
    assert problem.startswith(f"moorage {filled.split()[0]}: ")
    assert hint == ([f"see `moorage {filled.split()[0]} --help`"] if status == 2 else [])


def test_an_archive_of_several_images_asks_for_one(
    run: Runner,
) -> None:
    """By the name that docker gave it."""
    archives = [saved(noise(10, seed), tag=f"app:{seed}") for seed in (1, 2)]
    files: dict[str, bytes] = {}
    images: list[Any] = []
    for archive in archives:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened:
                found = opened.extractfile(member)
                assert found is not None
                files[f"{len(images)}/{member.name}"] = found.read()
        (image,) = json.loads(files.pop(f"{len(images)}/manifest.json"))
        image["Config"] = f"{len(images)}/{image['Config']}"
        image["Layers"] = [f"{len(images)}/{each}" for each in image["Layers"]]
        images.append(image)
    files["manifest.json"] = json.dumps(images).encode()
    path = run.folder / "two.tar"
    path.write_bytes(packed(files))
    refused = push(run, f"docker-archive:{path}", fails=True)
    assert "has 2 images: name one; its images are: app:1, app:2" in refused
    run("push", f"docker-archive:{path}:app:2", f"{run.host}/x:1")
    (layer,) = json.loads(run.fake.manifests["x", "1"][1])["layers"]
    assert run.fake.blobs[layer["digest"]] == noise(10, 2)


def test_an_address_at_the_storage_that_has_expired_is_asked_for_anew(
    content: Content, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presigned one lasts some minutes, and a large layer longer."""
    push(run, as_folder(content, run.folder))
    monkeypatch.setattr("moorage.transfer.layout_target.PIECE", 65536)
    run.fake.redirects_to, run.fake.expire_after = run.fake.url, 3
    run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy", "--parallel", "1")
    assert run.fake.addresses == 1
    copied = run.folder / "copy/blobs/sha256" / Digest.of(LAYERS[0]).hex
    assert copied.read_bytes() == LAYERS[0]


def test_a_layer_that_the_registry_has_lost_is_an_error(content: Content, run: Runner) -> None:
    """The error says that the name is right."""
    push(run, as_folder(content, run.folder))
    digest = str(Digest.of(LAYERS[1]))
    run.fake.homes.remove(("team/app", digest))
    refused = run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy", fails=True)
    told = f"/team/app:1 names {digest[:19]}, which the registry lacks: have the image pushed again"
    assert told in refused.err


def test_a_range_that_begins_elsewhere_is_not_taken(content: Content, run: Runner) -> None:
    """Its bytes would be those of another place."""
    push(run, as_folder(content, run.folder))
    run.fake.range_shift = 1
    refused = run("pull", f"{run.host}/team/app:1", f"oci:{run.folder}/copy", fails=True)
    assert "asked for bytes from 0 on, it sent 'bytes 1-" in refused.err


def test_layers_with_urls_are_not_moved(run: Runner) -> None:
    """A manifest may name a layer by URLs: it is neither in the layout nor pushed."""
    content = Content()
    elsewhere: dict[str, Any] = {
        "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "digest": str(Digest.of(b"elsewhere")),
        "size": 9,
        "urls": ["https://r.example.com/layer"],
    }
    image = content.image(noise(10))
    document = json.loads(content.stored[image["digest"]])
    document["layers"].append(elsewhere)
    content.tag(content.manifest(MediaType.OCI_MANIFEST, document))
    run.fake.homes.add(("team/app", elsewhere["digest"]))  # this registry would ask for it
    push(run, f"oci:{content.folder(run.folder / 'image')}")
    assert elsewhere["digest"] not in run.fake.blobs


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("manifest", "has other bytes than its digest"),
        ("size", "has 5 bytes where its manifest says 70000: copy the image again"),
        ("missing", "lacks sha256:08d94154"),
        ("index", "index.json can't be read: it is no JSON"),
        ("deep", "it is no JSON (its objects and lists are nested too deep)"),
        ("endless", "index.json can't be read: it lists a size that is no whole number"),
        ("odd", "index.json can't be read: it lists what is no descriptor"),
    ],
)
def test_a_broken_layout_is_an_error(broken: str, told: str, content: Content, run: Runner) -> None:
    """Before the registry is told anything of the broken part."""
    source = as_folder(content, run.folder)
    blobs = run.folder / "image/blobs/sha256"
    layer, index = blobs / Digest.of(LAYERS[1]).hex, run.folder / "image/index.json"
    match broken:
        case "manifest":
            (blobs / content.entries[0]["digest"].partition(":")[2]).write_text("{}")
        case "size":
            layer.write_bytes(b"short")
        case "missing":
            layer.unlink()
        case "endless":
            endless = {**content.entries[0], "size": float("1e999")}
            index.write_text(json.dumps({"manifests": [endless]}).replace("Infinity", "1e999"))
        case _:
            written = {"deep": "[" * 100_000, "odd": '{"manifests": [null]}', "index": "{"}
            index.write_text(written[broken])
    refused = push(run, source, fails=True)
    assert told.replace("sha256:08d94154", f"sha256:{layer.name[:12]}") in refused
    assert ("team/app", "1") not in run.fake.manifests


def test_a_manifest_with_other_bytes_is_not_pulled(content: Content, run: Runner) -> None:
    """Whether the registry names its digest, or the user does."""
    push(run, as_folder(content, run.folder))
    digest = content.entries[0]["digest"]
    media_type, body = run.fake.manifests["team/app", digest]
    run.fake.manifests["team/app", digest] = (media_type, body + b" ")
    place = f"{run.host}/team/app@{digest}"
    refused = run("pull", place, f"oci:{run.folder}/copy", fails=True)
    assert f"manifest {digest[:19]} has other bytes than its digest" in refused.err


def test_an_archive_without_its_layers_is_an_error(run: Runner) -> None:
    """As the configuration counts them."""
    read: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(saved(*LAYERS[:2]))) as opened:
        for member in opened:
            file = opened.extractfile(member)
            assert file is not None
            read[member.name] = file.read()
    (image,) = json.loads(read["manifest.json"])
    image["Layers"].pop()
    path = run.folder / "cut.tar"
    path.write_bytes(packed({**read, "manifest.json": json.dumps([image]).encode()}))
    told = push(run, f"docker-archive:{path}", fails=True)
    assert "has 1 layers where the image's configuration names 2: save it again" in told
