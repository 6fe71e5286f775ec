"""`moorage repo delete`, at a registry in this process."""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING

import pytest

from chalicelib.digest import Digest
from chalicelib.registry.model import InUse
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE
from chalicelib.stores.dynamodb.keys import in_use_key

if TYPE_CHECKING:
    from tests.moorage.repo.conftest import Run, Served


class Terminal(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def deletes(served: Served) -> list[str]:
    """Return what was asked to be deleted, in turn."""
    return [path.rpartition("/")[2] for method, path in served.asked if method == "DELETE"]


def test_several_are_deleted_at_once(served: Served, run: Run) -> None:
    """Tags and digests; said are tags, bytes that are freed, and until when it can be undone."""
    one, two = served.image("one", b"base", b"1"), served.image("two", b"base", b"22")
    served.image("stays", b"base", b"333")
    served.blob(b"1", "other/app")
    out, err = run(f"repo delete {served.host}/a/b one {two} --yes")
    assert out.split() == [one, two]
    assert f"{one}, tagged one" in err
    assert f"{two}, tagged two" in err
    assert "frees 2 B (1 B more are in other repositories, too)" in err
    assert "can be undone until 20" in err
    assert (served.named("one"), served.named("two")) == (None, None)
    assert served.named("stays") is not None
    # What is gone already can't be looked at; it was deleted, all the same.
    assert "is refused" in run(f"repo delete {served.host}/a/b {two} --yes", 1)[1]
    assert run(f"repo restore {served.host}/a/b:one")[0].strip() == one


def test_a_tag_is_taken_from_an_image_that_has_others(served: Served, run: Run) -> None:
    """The image goes with the last of its tags, and with all of them where it is named itself."""
    digest = served.image("v1", b"1")
    for tag in ("v2", "v3"):
        served.ask("PUT", f"a/b/manifests/{tag}", served.body(digest))
    place = f"{served.host}/a/b"
    out, err = run(f"repo delete {place}:v1 --yes")
    assert out.split() == ["v1"]
    assert "tag v1; its image stays" in err
    assert served.named("v2") == digest
    assert run(f"repo delete {place} v2 --only-tags --yes")[0].split() == ["v2"]
    assert run(f"repo delete {place} v3 --only-tags --yes")[0].split() == ["v3"]
    assert served.named(digest) == digest
    served.ask("PUT", "a/b/manifests/v4", served.body(digest))
    assert run(f"repo delete {place} v4 --yes")[0].split() == [digest]
    assert served.named(digest) is None


def test_deep_deletes_manifests_that_nothing_else_names(served: Served, run: Run) -> None:
    """An index goes first, then its images; without it they stay, which is said."""
    images = [served.image(None, each) for each in (b"1", b"22")]
    index = served.index("all", *images)
    place = f"{served.host}/a/b"
    err = run(f"repo delete {place}:all", 2)[1]
    assert "2 images or signatures that nothing else leads to stay: --deep" in err
    assert "frees 0 B" in err
    out, err = run(f"repo delete {place}:all --deep --yes")
    assert out.split() == [index, *sorted(images)] == deletes(served)
    assert "frees 5 B" in err
    # With the image of an index alone, the index is said to lack it.
    served.index("again", served.image(None, b"1"))
    err = run(f"repo delete {place} {images[0]} --yes")[1]
    assert "can't be pulled whole without it" in err


def test_a_running_image_is_deleted_only_by_force(served: Served, run: Run) -> None:
    """Without it nothing is, and the source is named."""
    digest = served.image("v1", b"1")
    now = served.memory.clock.now()
    lease = InUse("a/b", "prod", "ecs", {Digest.parse(digest): "web"}, now, now + 3600)
    row = {**key_attributes(in_use_key("a/b", "prod")), **IN_USE.encode(lease)}
    served.memory.tables.put_item(TableName="registry", Item=row)
    err = run(f"repo delete {served.host}/a/b v1 --yes", 1)[1]
    assert f"{digest} runs in prod" in err
    assert served.named("v1") == digest
    out, err = run(f"repo delete {served.host}/a/b v1 --yes --force")
    assert out.split() == [digest]
    assert "runs in prod web" in err
    assert served.named("v1") is None


@pytest.mark.parametrize(
    ("typed", "status", "left"), [("y\n", 0, False), ("n\n", 1, True), ("\n", 1, True)]
)
def test_a_person_is_asked_at_a_terminal(  # noqa: PLR0913 - fixtures, and a row of the table
    served: Served,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    status: int,
    left: bool,  # noqa: FBT001 - likewise
) -> None:
    """After all was shown; nothing is deleted but by a yes."""
    digest = served.image("v1", b"1")
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    err = run(f"repo delete {served.host}/a/b:v1", status)[1]
    assert err.index(digest) < err.index("delete it?")
    assert (served.named("v1") is not None) is left
    assert ("nothing was deleted" in err) is left


def test_json_has_the_result_of_each_deletion(served: Served, run: Run) -> None:
    """What could not be deleted, too, with the exit status 1; the rest is deleted."""
    one, two = served.image("one", b"1"), served.image("two", b"22")
    served.broken = f"manifests/{one}"
    out, err = run(f"repo delete {served.host}/a/b one two --yes --json", 1)
    document = json.loads(out)
    assert document["deleted"] == [two]
    assert list(document["failed"]) == [one]
    assert (document["unused_bytes"], document["freed_bytes"]) == (5, 5)
    assert document["until"].startswith("20")
    assert f"{one} is still there: " in err
    assert (served.named("one"), served.named("two")) == (one, None)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("{}/a/b", 2, "say what to delete"),
        ("{}/a/b v1", 2, "give --yes"),
        ("{}/a/b none --yes", 1, "is refused"),
        ("{}/a/b ?! --yes", 2, "tag"),
        ("{}/a/b v1 sha256:0 --yes", 2, "digest"),
        ("{}/a/b sha256:" + "0" * 64 + " --yes", 1, "is refused"),
        ("{}/a/b sha256:" + "0" * 64 + " --only-tags --yes", 2, "don't go together"),
        ("{}/a/b " + " ".join(f"t{number}" for number in range(101)), 2, "too many at once"),
        ("a/b v1", 2, "names no registry"),
    ],
)
def test_an_image_that_can_not_be_deleted_is_an_error_with_advice(
    served: Served, run: Run, words: str, status: int, said: str
) -> None:
    """And nothing is deleted then."""
    served.image("v1", b"1")
    assert said in run(f"repo delete {words.format(served.host)}", status)[1]
    assert deletes(served) == []
