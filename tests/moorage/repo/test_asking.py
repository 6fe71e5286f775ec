"""What the commands of `moorage repo` make of answers that are no Moorage's."""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.registry.service import Limits
from moorage.repo import asking
from tests.fuzz.junk import places
from tests.moorage.repo.conftest import IMAGE
from tests.support.registries import registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.moorage.repo.conftest import Run, Served

UNREADABLE = "the registry's answer can't be read: is it Moorage, of this version?"
EVERY_COMMAND = pytest.mark.parametrize(
    ("words", "read"),
    [
        ("list {}", "/_moorage/repositories"),
        ("show {}/a/b", "/_moorage/tags"),
        ("show {}/a/b:v1", "/_moorage/images/"),
        ("history {}/a/b", "/_moorage/history"),
        ("restore {}/a/b:old --force", "/_moorage/history"),
        ("restore {}/a/b:old --force", "/_moorage/restore"),
        ("delete {}/a/b v1 --yes", "/_moorage/deletion"),
    ],
)
MISSING = object()
WRONG: tuple[Any, ...] = (MISSING, None, 7, "x", [7], {"x": 7}, 10**30)


def fill(served: Served) -> None:
    """Begin anew: push an image and what refers to it; another one moves a tag."""
    served.memory = registry_in_memory(Limits())
    digest = served.image("v1", b"layer")
    subject = {"mediaType": IMAGE, "digest": digest, "size": len(served.body(digest))}
    served.image(None, b"signature", artifactType="text/x", subject=subject)
    served.put("old", "one")
    served.put("old", "two")


def answering(part: str, body: bytes) -> Callable[[str, bytes], bytes]:
    """Answer a path that has this part with a body, and any other as the registry does."""
    return lambda path, true: body if part in path else true


@EVERY_COMMAND
def test_an_answer_of_another_form_is_an_error_of_one_line(
    served: Served, run: Run, words: str, read: str
) -> None:
    """One that is no JSON, or no object, or lacks what the command reads first."""
    fill(served)
    for body in (b"<html>", b"[]", b"{}", b"[" * 100_000):
        served.instead = answering(read, body)
        assert UNREADABLE in run(f"repo {words.format(served.host)}", 1)[1]


@EVERY_COMMAND
def test_a_member_of_another_form_is_no_traceback(
    served: Served, run: Run, words: str, read: str
) -> None:
    """Whichever is wrong or missing: the answer is understood without it, or can't be read."""
    answers: list[bytes] = []

    def noted(path: str, body: bytes) -> bytes:
        answers.extend([body] * (read in path))
        return body

    said, command = [], f"repo {words.format(served.host)}"
    fill(served)
    served.instead = noted
    run(command)
    whole = json.loads(answers[0])
    for number, wrong in zip(range(len(list(places(whole)))), itertools.cycle(WRONG)):
        spoiled = copy.deepcopy(whole)
        holder, key = next(itertools.islice(places(spoiled), number, None))
        if wrong is MISSING:
            del holder[key]
        else:
            holder[key] = wrong
        body = json.dumps(spoiled).encode()
        fill(served)
        served.instead = answering(read, body)
        said.append(run(command, None)[1])
    assert any(UNREADABLE in each for each in said)


@pytest.mark.parametrize("words", ["list {}", "show {}/a/b", "history {}/a/b"])
def test_a_list_that_leads_to_itself_ends(served: Served, run: Run, words: str) -> None:
    """No command asks for the same page again and again."""
    fill(served)
    served.link = "/v2/a/b/_moorage/tags"
    served.instead = lambda _, __: b'{"tags": [], "history": [], "repositories": []}'
    assert UNREADABLE in run(f"repo {words.format(served.host)}", 1)[1]


def test_a_digest_is_cut_as_people_compare_it() -> None:
    """By its algorithm and twelve digits."""
    assert len("sha256:0123456789ab") == asking.SHORT
