"""Direct uploads as a client makes them: what goes wrong on the way to the storage, and after."""

from __future__ import annotations

import asyncio
import io
import json
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from chalicelib.digest import Algorithm, Digest
from moorage.common import patience, storage
from moorage.common.chunked_upload import UploadRefusedError
from moorage.common.direct_upload import (
    DirectClient,
    NotDirectError,
    PartRules,
    PartSize,
    PartsUpload,
    PutExhaustedError,
    SentPart,
    WholeUpload,
)
from moorage.common.patience import FAILURES, UpstreamResponse
from moorage.common.storage import Pieces, PutRefusedError, PutTarget, Storage
from tests.support.fake_direct import FakeDirect, PutFault, words_after
from tests.support.fake_registry import FakeRegistry, run_fake_registry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping

LOGIN = {"Authorization": "Bearer secret"}
NAME = "team/app"
DATA = bytes(range(251)) * 5000
DIGEST = Digest.of(DATA)
SIZES = (320_000, 640_000, len(DATA) - 960_000)
PARTS = tuple(PartSize(number, size) for number, size in enumerate(SIZES, 1))


class Asked:
    """The registry over HTTP; `asked` has method and path of each request."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base
        self.asked: list[tuple[str, str]] = []

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: memoryview | None = None
    ) -> UpstreamResponse:
        """See UploadUpstream."""
        self.asked.append((method, path))
        data = None if body is None else io.BytesIO(body)
        async with self._session.request(
            method, self._base + path, headers=headers, data=data
        ) as answer:
            headers = CIMultiDict(answer.headers)
            return UpstreamResponse(answer.status, headers, await answer.read())


@pytest.fixture(scope="module")
def served() -> Iterator[FakeRegistry]:
    """One registry for all tests of the module."""
    with run_fake_registry() as fake:
        yield fake


@pytest.fixture
def fake(served: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    """A registry as if it were new, with direct uploads; failures are waited for shortly."""
    anew = vars(FakeRegistry(url=served.url, direct=FakeDirect()))
    vars(served).clear()
    vars(served).update(anew)
    monkeypatch.setattr(patience, "_FIRST_WAIT", 0.001)
    return served


def direct(fake: FakeRegistry) -> FakeDirect:
    """Return the registry's direct uploads."""
    assert fake.direct is not None
    return fake.direct


def with_uploads(
    fake: FakeRegistry,
    act: Callable[[DirectClient, Asked], Awaitable[Any]],
    *,
    local: bool = True,
    seconds: float = 90.0,
) -> Any:  # noqa: ANN401 - what it gives
    """Do something with the direct uploads of the registry; return what it gives."""

    async def run() -> Any:  # noqa: ANN401 - likewise
        async with aiohttp.ClientSession(skip_auto_headers=("Content-Type",)) as session:
            asked = Asked(session, fake.url)
            uploads = DirectClient(asked, Storage(session, local=local), seconds)
            return await act(uploads, asked)

    return asyncio.run(run())


def pieces(data: bytes, size: int = 100_000) -> Pieces:
    """Return what gives these bytes."""

    async def give() -> AsyncGenerator[memoryview, None]:
        for at in range(0, len(data), size):
            yield memoryview(data)[at : at + size]

    return give


def of_part(part: PartSize) -> bytes:
    """Return the bytes of a part."""
    first = sum(each.size for each in PARTS if each.number < part.number)
    return DATA[first : first + part.size]


def report(algorithm: Algorithm = Algorithm.SHA256) -> list[SentPart]:
    """Return what is to be said of the parts."""
    ends = {part: sum(each.size for each in PARTS[: part.number]) for part in PARTS}
    states = {part: words_after(algorithm, DATA[: ends[part]]) for part in PARTS[:-1]}
    return [SentPart(*part, states.get(part)) for part in PARTS]


async def push_whole(uploads: DirectClient) -> UpstreamResponse:
    """Push the blob by one PUT."""
    upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
    await upload.put(len(DATA), pieces(DATA))
    return await upload.commit()


async def push_parts(uploads: DirectClient, algorithm: Algorithm = Algorithm.SHA256) -> PartsUpload:
    """Push the blob by parts at once, the last first."""
    upload = await uploads.open_parts(NAME, algorithm, LOGIN)
    async with asyncio.TaskGroup() as tasks:
        for part in reversed(PARTS):
            tasks.create_task(upload.put(part, pieces(of_part(part)), PARTS))
    await upload.commit(Digest.of(DATA, algorithm), report(algorithm))
    return upload


PUSHES: dict[str, Callable[[DirectClient], Awaitable[object]]] = {
    "whole": push_whole,
    "parts": push_parts,
}
HARMLESS = [fault for fault in PutFault if fault is not PutFault.REFUSED]
# Two fresh URLs in a row that have ended are a refusal.
IN_TURN = [*HARMLESS[-2:-1], *HARMLESS[:-2], *HARMLESS[-1:]]


def test_the_extension_is_requested_once_for_all_layers(fake: FakeRegistry) -> None:
    """Layers that begin at once share one answer."""

    async def act(uploads: DirectClient, asked: Asked) -> list[bool]:
        found = await asyncio.gather(*(uploads.offered(LOGIN) for _ in range(4)))
        assert asked.asked == [("GET", "/v2/_oci/ext/discover")]
        return found

    assert with_uploads(fake, act) == [True] * 4
    fake.direct = None
    assert with_uploads(fake, act) == [False] * 4


def test_an_answer_about_the_login_or_that_may_pass_is_not_remembered(fake: FakeRegistry) -> None:
    """The next login, or the next moment, is asked again."""
    fake.refuses = {LOGIN["Authorization"]}
    fake.failing = set()

    async def act(uploads: DirectClient, _: Asked) -> None:
        assert not await uploads.offered(LOGIN)
        fake.failing = {"GET"}
        assert not await uploads.offered({})
        fake.failing = set()
        assert await uploads.offered({})

    with_uploads(fake, act, seconds=0.01)


def test_an_unreachable_registry_has_no_extension() -> None:
    """The next request reports the failure better."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        assert not await uploads.offered({})

    with_uploads(FakeRegistry(url="http://127.0.0.1:9"), act, seconds=0.01)


@pytest.mark.parametrize("faults", [[], *([fault] for fault in HARMLESS), IN_TURN])
@pytest.mark.parametrize("way", PUSHES)
def test_a_blob_arrives_whatever_happens_to_its_puts(
    way: str, faults: list[PutFault | None], fake: FakeRegistry
) -> None:
    """It is published once; the storage sees no login."""
    direct(fake).put_faults = list(faults)
    with_uploads(fake, lambda uploads, _: PUSHES[way](uploads))
    assert fake.blobs == {str(DIGEST): DATA}
    assert direct(fake).put_faults == []
    (session,) = direct(fake).sessions.values()
    assert session.state == "committed"


@pytest.mark.parametrize("way", PUSHES)
def test_a_put_that_is_refused_for_good_is_no_reason_to_go_on(way: str, fake: FakeRegistry) -> None:
    """A code of no known kind, or a fresh URL that has ended too; the code is told."""
    for faults, code in (
        ([PutFault.REFUSED] * 3, "InvalidRequest"),
        ([PutFault.EXPIRED] * 9, "AccessDenied"),
    ):
        direct(fake).put_faults = list(faults)
        with pytest.raises((PutRefusedError, ExceptionGroup)) as refused:
            with_uploads(fake, lambda uploads, _: PUSHES[way](uploads))
        error = refused.value
        first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        assert isinstance(first, PutRefusedError)
        assert (first.code, first.wrong_bytes) == (code, False)


def test_wrong_bytes_are_distinguished_from_other_refusals(fake: FakeRegistry) -> None:
    """Chunks would not help either."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
        with pytest.raises(PutRefusedError) as refused:
            await upload.put(len(DATA), pieces(DATA[::-1]))
        assert refused.value.wrong_bytes
        await upload.cancel()

    with_uploads(fake, act)
    assert direct(fake).sessions == {}


@pytest.mark.parametrize("fault", [PutFault.ERROR, PutFault.LOST_BEFORE])
def test_a_storage_that_fails_for_too_long_ends_the_upload(
    fault: PutFault, fake: FakeRegistry
) -> None:
    """The session stays for the next run."""
    direct(fake).put_faults = [fault] * 10_000
    with pytest.raises(PutExhaustedError):
        with_uploads(fake, lambda uploads, _: push_whole(uploads), seconds=0.05)
    assert len(direct(fake).sessions) == 1


def test_slow_tries_do_not_use_up_the_patience(fake: FakeRegistry) -> None:
    """Sending is no waiting: five tries are made, though each takes longer than the patience."""
    direct(fake).put_faults = [PutFault.ERROR] * 4

    async def act(uploads: DirectClient, _: Asked) -> None:
        upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)

        async def slowly() -> AsyncGenerator[memoryview, None]:
            await asyncio.sleep(0.5)
            yield memoryview(DATA)

        await upload.put(len(DATA), slowly)

    with_uploads(fake, act, seconds=0.4)


def test_progress_is_reported_while_bytes_are_sent(fake: FakeRegistry) -> None:
    """From 0 to the size, and back for an attempt that broke off."""
    direct(fake).put_faults = [PutFault.LOST_BEFORE]
    told: list[int] = []

    async def act(uploads: DirectClient, _: Asked) -> None:
        upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
        await upload.put(len(DATA), pieces(DATA), told.append)

    with_uploads(fake, act)
    assert (told[0], told[-1], told.count(0)) == (0, len(DATA), 2)
    second = told[len(told) - told[::-1].index(0) :]
    assert second == sorted(second)
    assert len(second) > 10


def test_urls_come_in_batches_and_anew_when_they_have_ended(fake: FakeRegistry) -> None:
    """One request for all that is ahead; a URL near its end is not used."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        await push_parts(uploads)

    with_uploads(fake, act)
    assert direct(fake).batches == [3]
    direct(fake).batches, direct(fake).expires_in = [], 10.0
    with_uploads(fake, act)
    assert direct(fake).batches == [3, 3, 3]
    direct(fake).batches, direct(fake).expires_in, direct(fake).batch = [], 900.0, 2
    with_uploads(fake, act)
    assert direct(fake).batches == [2, 2]


@pytest.mark.parametrize("runs", [0, 3])
@pytest.mark.parametrize("lost", [0, 2])
@pytest.mark.parametrize("way", PUSHES)
def test_a_commit_is_repeated_until_it_is_answered(
    way: str, lost: int, runs: int, fake: FakeRegistry
) -> None:
    """Answers that are lost, and a driver that goes on for longer than the patience."""
    direct(fake).answers_lost, direct(fake).runs = lost, runs
    with_uploads(fake, lambda uploads, _: PUSHES[way](uploads))
    assert fake.blobs == {str(DIGEST): DATA}


def test_a_commit_that_is_refused_has_the_registrys_answer(fake: FakeRegistry) -> None:
    """Other words than those of the bytes, here."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        upload = await uploads.open_parts(NAME, Algorithm.SHA256, LOGIN)
        for part in PARTS:
            await upload.put(part, pieces(of_part(part)))
        wrong = [SentPart(part.number, part.size, part.state and bytes(32)) for part in report()]
        with pytest.raises(UploadRefusedError) as refused:
            await upload.commit(DIGEST, wrong)
        assert refused.value.answer.status == 400
        assert b"other words" in refused.value.answer.body

    with_uploads(fake, act)
    assert fake.blobs == {}


@pytest.mark.parametrize("status", [400, 404, 405, 413])
@pytest.mark.parametrize("way", PUSHES)
def test_a_blob_that_is_not_taken_directly_is_no_failure(
    way: str, status: int, fake: FakeRegistry
) -> None:
    """It may go in chunks; what is about the login may not."""
    direct(fake).refuses = {way: status}
    with pytest.raises(NotDirectError):
        with_uploads(fake, lambda uploads, _: PUSHES[way](uploads))
    direct(fake).refuses = {way: 403}
    with pytest.raises(UploadRefusedError):
        with_uploads(fake, lambda uploads, _: PUSHES[way](uploads))


def test_sha512_goes_by_parts_alone(fake: FakeRegistry) -> None:
    """S3 compares no sha512, the registry does."""
    digest = Digest.of(DATA, Algorithm.SHA512)

    async def act(uploads: DirectClient, _: Asked) -> None:
        with pytest.raises(NotDirectError):
            await uploads.open_whole(NAME, digest, len(DATA), LOGIN)
        await push_parts(uploads, Algorithm.SHA512)

    with_uploads(fake, act)
    assert fake.blobs == {str(digest): DATA}


def test_a_kept_session_is_continued(fake: FakeRegistry) -> None:
    """It lists its parts; a committed one takes none, an ended one is unknown."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        begun = await uploads.open_parts(NAME, Algorithm.SHA256, LOGIN)
        await begun.put(PARTS[1], pieces(of_part(PARTS[1])))
        again = await uploads.resume(begun.location, LOGIN)
        assert isinstance(again, PartsUpload)
        assert (again.open, again.stored) == (True, {2: PARTS[1].size})
        for part in (PARTS[0], PARTS[2]):
            await again.put(part, pieces(of_part(part)))
        await again.commit(DIGEST, report())
        late = await uploads.resume(begun.location, LOGIN)
        assert late is not None
        assert not late.open
        await late.repeat_commit(DIGEST)
        await late.cancel()
        assert await uploads.resume(begun.location, LOGIN) is None
        whole = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
        resumed = await uploads.resume(whole.location, LOGIN)
        assert isinstance(resumed, WholeUpload)
        await resumed.put(len(DATA), pieces(DATA))
        await resumed.commit()

    with_uploads(fake, act)
    assert fake.blobs == {str(DIGEST): DATA}


def test_a_registry_that_fails_for_a_while_is_waited_for(fake: FakeRegistry) -> None:
    """A POST whose answer was lost opens a second session; the first one ends by itself."""
    fake.failing = {"POST"}

    async def act(uploads: DirectClient, asked: Asked) -> None:
        task = asyncio.ensure_future(push_parts(uploads))
        await asyncio.sleep(0.05)
        assert len(asked.asked) > 2
        fake.failing = set()
        await task

    with_uploads(fake, act)
    assert fake.blobs == {str(DIGEST): DATA}


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://storage.example.com/1", True),
        ("http://127.0.0.1:1/1", False),
        ("https://127.0.0.1:1/1", False),
        ("https://localhost/1", False),
        ("https://me:secret@storage.example.com/1", True),
        ("ftp://storage.example.com/1", True),
        ("no url", True),
    ],
)
def test_bytes_go_to_no_url_without_tls_nor_from_elsewhere_to_this_machine(
    *, url: str, local: bool, fake: FakeRegistry
) -> None:
    """Nothing is sent there."""

    async def act(uploads: DirectClient, _: Asked) -> None:
        to = PutTarget(url, {}, time.monotonic() + 900)
        with pytest.raises(PutRefusedError, match="URL"):
            await uploads.storage.put(to, 1, pieces(b"x"), lambda _: None)

    with_uploads(fake, act, local=local)


def test_a_source_that_cannot_be_read_is_not_a_storage_failure(fake: FakeRegistry) -> None:
    """It is raised as it is, and nothing is tried again."""

    async def act(uploads: DirectClient, asked: Asked) -> None:
        async def cut() -> AsyncGenerator[memoryview, None]:
            yield memoryview(DATA)[:10]
            raise LookupError("cut")

        upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
        with pytest.raises(LookupError):
            await upload.put(len(DATA), cut)
        assert len(asked.asked) == 1

    with_uploads(fake, act)


@pytest.mark.parametrize(
    "change",
    [
        {"url": None},
        {"headers": None},
        {"headers": {"X": "a\r\nAuthorization: b"}},
        {"url": "https://s3.example.com/\r\n"},
        {"expires_in": "soon"},
    ],
)
def test_an_answer_without_a_url_is_no_direct_upload(
    change: dict[str, Any], fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks do then, and no header is sent that a line break makes."""
    presigned = FakeDirect._presigned  # noqa: SLF001 - it has no other hook
    monkeypatch.setattr(FakeDirect, "_presigned", lambda *asked: {**presigned(*asked), **change})
    with pytest.raises(NotDirectError):
        with_uploads(fake, lambda uploads, _: push_whole(uploads))


@pytest.mark.parametrize("wrong", [0, -1, None, "x", float("inf"), "9" * 5000])
@pytest.mark.parametrize("name", [field.name for field in fields(PartRules)])
def test_rules_by_which_no_part_can_be_cut_are_no_direct_upload(
    name: str, wrong: object, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks do then."""
    described = FakeDirect._described  # noqa: SLF001 - it has no other hook

    def spoiled(*asked: Any) -> web.Response:  # noqa: ANN401 - as the method takes them
        answer = described(*asked)
        document = json.loads(str(answer.text))
        document["parts"][name] = wrong
        place = {"Location": answer.headers["Location"]}
        return web.json_response(document, status=answer.status, headers=place)

    monkeypatch.setattr(FakeDirect, "_described", spoiled)
    with pytest.raises(NotDirectError):
        with_uploads(fake, lambda uploads, _: push_parts(uploads))


@pytest.mark.parametrize("wrong", [None, "1", [], {}, 1.5, True])
def test_an_answer_without_the_url_of_its_part_is_refused(
    wrong: object, fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is put to it."""
    presigned = FakeDirect._presigned  # noqa: SLF001 - it has no other hook
    monkeypatch.setattr(
        FakeDirect, "_presigned", lambda *asked: presigned(*asked) | {"number": wrong}
    )

    async def act(uploads: DirectClient, _: Asked) -> None:
        upload = await uploads.open_parts(NAME, Algorithm.SHA256, LOGIN)
        with pytest.raises(PutRefusedError, match="no URL for the part"):
            await upload.put(PartSize(1, 1), pieces(b"x"))

    with_uploads(fake, act)


def test_a_connection_that_takes_nothing_is_given_up(
    fake: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time for a piece, not for all of them: a long PUT is no stalled one."""
    monkeypatch.setattr(storage, "_STALLED", 0.3)

    async def act(uploads: DirectClient, _: Asked) -> None:
        async def ends_never() -> AsyncGenerator[memoryview, None]:
            yield memoryview(DATA)[:10]
            await asyncio.sleep(60)

        async def slowly() -> AsyncGenerator[memoryview, None]:
            for at in range(0, len(DATA), 300_000):
                await asyncio.sleep(0.15)
                yield memoryview(DATA)[at : at + 300_000]

        upload = await uploads.open_whole(NAME, DIGEST, len(DATA), LOGIN)
        to = await upload._url()  # noqa: SLF001 - one try
        with pytest.raises(FAILURES):
            await uploads.storage.put(to, len(DATA), ends_never, lambda _: None)
        await upload.put(len(DATA), slowly)

    with_uploads(fake, act)
    assert direct(fake).sessions
