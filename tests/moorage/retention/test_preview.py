"""`moorage retention get`, `set` and `preview`: what is previewed is what a run then removes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.registry.model import InUse, ManifestState
from chalicelib.registry.retention.judging import RetentionDecision, RetentionReason
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE
from chalicelib.stores.dynamodb.keys import in_use_key
from moorage.retention import preview
from tests.support.registries import registry_over
from tests.support.values import a_manifest, push, push_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from chalicelib.digest import Digest
    from chalicelib.registry.model import Manifest
    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command, CommandResult

NAME = "team/app"
INDEX = "application/vnd.oci.image.index.v1+json"
CI: dict[str, Any] = {
    "name": "CI",
    "repositories": ["team/*"],
    "tags": ["pr-*", "nightly-*"],
    "untagged": True,
    "expire": {"days_since_push": 14},
    "brake": 100,
}
RELEASES = {"name": "releases", "repositories": ["**"], "tags": ["v*"], "keep": "always"}


class Retaining:
    """The command, at a registry with some images."""

    def __init__(self, moorage: Command, backend: Backend, folder: Path) -> None:
        self.moorage, self.backend, self.folder = moorage, backend, folder
        self.registry = registry_over(backend)
        self.metadata = self.registry.ports.metadata
        self.at = f"--table {backend.registry_table} --aws-endpoint {backend.endpoint_url}"
        self.metadata.add_repository(NAME)

    def __call__(self, words: str) -> CommandResult:
        """Run `moorage retention`."""
        return self.moorage(f"retention {words} {self.at}")

    def file(self, *rules: object, text: str | None = None, **sections: object) -> Path:
        """Write a file with rules of retention."""
        file = self.folder / "rules.json"
        document = {"rules": rules} if not sections else {"retention": {"rules": rules}, **sections}
        file.write_text(json.dumps(document) if text is None else text)
        return file

    def image(self, *tags: str, **changes: Any) -> Digest:  # noqa: ANN401 - any field of a manifest
        """Store an image of a year ago, with two blobs of its own."""
        repository = changes.setdefault("repository", NAME)
        manifest: Manifest = a_manifest(**{"pushed_by": "ann", **changes})
        for digest in () if manifest.media_type == INDEX else manifest.references or ():
            push(self.registry.ports.sessions, self.metadata, repository, digest)
        return push_manifest(self.metadata, manifest, *tags).digest

    def previewed(self, words: str = "") -> dict[str, Any]:
        """Preview as JSON."""
        done = self(f"preview --json {words}")
        assert done.status == 0
        document: dict[str, Any] = json.loads(done.out)
        return document


@pytest.fixture
def retaining(moorage: Command, backend: Backend, tmp_path: Path) -> Retaining:
    """A registry."""
    return Retaining(moorage, backend, tmp_path)


def test_rules_are_set_shown_and_taken_away(retaining: Retaining) -> None:
    """As a section of the whole document: the other sections stay."""
    assert "nothing goes" in retaining("get").err
    immutable = [{"name": "fixed", "repositories": ["**"], "tags": ["v*"]}]
    whole = retaining.folder / "whole.json"
    whole.write_text(json.dumps({"immutable": immutable}))
    assert retaining.moorage(f"rules set {whole} {retaining.at}").status == 0
    file = retaining.file(CI, RELEASES)
    assert "can be set, as version 2" in retaining(f"set {file} --check").err
    assert "nothing goes" in retaining("get").err
    assert "in force, as version 2" in retaining(f"set {file}").err
    assert json.loads(retaining("get").out) == {"rules": [CI, RELEASES]}
    shown = json.loads(retaining.moorage(f"rules show {retaining.at}").out)
    assert shown == {"immutable": immutable, "retention": {"rules": [CI, RELEASES]}}
    assert "version 3" in retaining(f"set {retaining.file(CI, text=retaining('get').out)}").err
    assert "in force, as version 4" in retaining("set --none").err
    assert "nothing goes" in retaining("get").err
    assert json.loads(retaining.moorage(f"rules show {retaining.at}").out) == {
        "immutable": immutable
    }


def test_a_file_may_hold_the_section_by_its_name(retaining: Retaining) -> None:
    """As the recipes have it; beside another section it is a usage error."""
    file = retaining.folder / "named.json"
    file.write_text(json.dumps({"retention": {"rules": [CI]}}))
    assert retaining(f"set {file}").status == 0
    assert json.loads(retaining("get").out) == {"rules": [CI]}
    file.write_text(json.dumps({"retention": {"rules": [RELEASES]}, "immutable": []}))
    refused = retaining(f"set {file}")
    assert (refused.status, "'immutable' beside 'retention'" in refused.err) == (2, True)
    assert json.loads(retaining("get").out) == {"rules": [CI]}


@pytest.mark.parametrize(
    ("words", "text", "said"),
    [
        ("set", "", "give a FILE"),
        ("set {} --none", "{}", "give a FILE"),
        ("set {}", "{", "can't be read as JSON"),
        ("set {}", '{"rules": []}', "leave `retention` out"),
        ("set {}", json.dumps({"rules": [{**CI, "tag": "x"}]}), "'tag', which is none of"),
        ("preview --rules {}", json.dumps({"rules": [{**CI, "name": ""}]}), "needs a name"),
        ("preview team/nobody", "", "there is no repository team/nobody"),
    ],
)
def test_what_can_not_be_done_is_a_usage_error(
    retaining: Retaining, words: str, text: str, said: str
) -> None:
    """It says what would be right, and changes nothing."""
    refused = retaining(words.format(retaining.file(text=text)))
    assert (refused.status, said in refused.err) == (2, True)
    assert "nothing goes" in retaining("get").err


def test_patterns_that_match_nothing_are_reported(retaining: Retaining) -> None:
    """For repositories and tags, when rules are set."""
    retaining.image("pr-1", "v1")
    retaining.metadata.add_repository("other/app")
    retaining.image("v2-dev", repository="other/app")
    rule = {**CI, "repositories": ["team/*", "nobody/*"], "except": ["*-dev"]}
    told = retaining(f"set {retaining.file(rule, RELEASES)} --check").err.splitlines()
    assert told[:-1] == [
        "rule 'CI': nobody/* matches no repository that is there",
        "rule 'CI': *-dev matches no tag that is there",
        "rule 'CI': nightly-* matches no tag that is there",
    ]


def test_a_run_removes_just_what_was_previewed(retaining: Retaining) -> None:
    """Of a draft and of rules in force alike, in all repositories or in one; and its bytes."""
    child = retaining.image()
    index = retaining.image("pr-1", media_type=INDEX, references=(child,))
    signature = retaining.image(subject=index)
    elsewhere = retaining.image("nightly-1", repository="team/other")
    retaining.metadata.add_repository("team/other")
    staying = [
        retaining.image("v1"),
        retaining.image("main"),
        retaining.image("pr-2", pushed_at=time.time()),
    ]
    running = retaining.image("pr-3")
    lease = InUse(NAME, "prod", "file", {running: ""}, time.time(), time.time() + 600)
    retaining.registry.dynamodb.put_item(
        TableName=retaining.backend.registry_table,
        Item={**IN_USE.encode(lease), **key_attributes(in_use_key(NAME, "prod"))},
    )
    file = retaining.file(CI, RELEASES)
    expected = {NAME: {child, index, signature}, "team/other": {elsewhere}}
    for words in (f"--rules {file}", ""):
        found = retaining.previewed(words)
        assert {each["name"]: set(each["going"]) for each in found["repositories"]} == {
            name: set(map(str, digests)) for name, digests in expected.items()
        }
        # Six blobs of five bytes; an index has none.
        assert (found["images"], found["manifests"], found["bytes"]) == (2, 4, 30)
        assert retaining(f"set {file}").status == 0
    (one,) = retaining.previewed("team/other")["repositories"]
    assert one["going"] == [str(elsewhere)]
    report = retaining.registry.registry.retention.run(time.time() + 600)
    assert (report.images, report.manifests) == (2, 4)
    for name, digests in expected.items():
        found_of = retaining.metadata.get_manifests(name, [*digests, *staying, running])
        trashed = {d for d, each in found_of.items() if each.state is ManifestState.TRASHED}
        assert trashed == digests
    assert retaining.previewed()["images"] == 0


def test_a_preview_is_for_people_too(retaining: Retaining) -> None:
    """Each image with its reason; what stops a run, and what can't be judged, is said."""
    retaining.image("pr-1", "pr-2", "pr-3", "pr-4", total_bytes=2_000_000)
    retaining.image("v1", pulled_at=time.time())
    retaining.image("main", pushed_by=None)
    retaining.image("other")
    assert "there are no rules of retention" in retaining("preview").err
    unused = {
        "name": "unused",
        "repositories": ["**"],
        "tags": ["main"],
        "expire": {"days_since_pull": 30},
    }
    file = retaining.file({**CI, "brake": 25}, RELEASES, unused)
    shown = retaining(f"preview --rules {file}")
    (row,) = shown.out.splitlines()[1:]
    assert "pr-1, pr-2, pr-3 and 1 more" in row
    assert "2.0 MB" in row
    assert "goes by rule CI (pr-1)" in row
    assert "1 images stay since nobody noted when they were pulled last" in shown.err
    assert "1 images (1 manifests) of 1 repositories would go, and free 10 B" in shown.err
    every = retaining(f"preview --all --rules {file}").out
    assert "stays: kept by rule releases (v1)" in every
    assert "stays: no rule lets tag other go" in every
    assert "stays: nobody noted when it was pulled, as rule unused asks" in every
    file = retaining.file({**CI, "brake": 24}, RELEASES)
    shown = retaining(f"preview --rules {file}")
    assert (
        f"{NAME}: nothing goes, 1 of 4 images would go, which is more than the brake" in shown.err
    )
    assert "0 images (0 manifests)" in shown.err
    assert retaining.previewed(f"--rules {file}")["repositories"][0]["stopped"]["why"] == "brake"


def test_every_reason_has_words() -> None:
    """A person reads why an image stays."""
    for reason in RetentionReason:
        decision = RetentionDecision(reason, a_manifest().digest, "r", "v1", 0.0)
        assert preview.reason_text(decision)
        assert preview.reason_text(decision._replace(tag=None))
