"""Thousands of requests that go wrong, through the gateway, Chalice and the dispatcher.

A failure names the seed and the numbers: set MOORAGE_FUZZ_SEED, and MOORAGE_FUZZ_NUMBER to make
one request alone. Below stands memory, so that nothing but a request can be at fault.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import app as application
from chalicelib.digest import Digest
from chalicelib.wiring import registry as wiring
from tests.chalicelib.api.pushing import IMAGE
from tests.fuzz.answers import FuzzWire, Judge
from tests.fuzz.cases import make
from tests.fuzz.world import fuzzed
from tests.support.servers import request, run_gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fuzz.answers import FuzzAnswer
    from tests.fuzz.cases import FuzzRequest
    from tests.fuzz.world import Fuzzed

SEED = int(os.environ.get("MOORAGE_FUZZ_SEED", "1"))
ALONE = os.environ.get("MOORAGE_FUZZ_NUMBER")
REQUESTS = int(os.environ.get("MOORAGE_FUZZ_REQUESTS", "2000"))
"""`make drills` makes 20,000."""
THREADS = 4
CODES_REACHED = 14
_SHOWN = 20


@dataclass
class Campaign:
    """The requests of several threads, and what came of them."""

    world: Fuzzed
    url: str
    seen: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    judge: Judge = field(default_factory=Judge)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, numbers: Sequence[int]) -> None:
        """Make every request of these numbers, in as many threads as there are."""
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self._run, (numbers[first::THREADS] for first in range(THREADS))))

    def _run(self, numbers: Sequence[int]) -> None:
        wire = FuzzWire(self.url)
        for number in numbers:
            try:
                asked = make(self.world, SEED, number)
                self._note(number, asked, *self._answered(wire, asked))
            except Exception:  # noqa: BLE001 - a request that can't be judged is a fault too
                self._note(number, None, None, [traceback.format_exc()])
        wire.close()

    def _answered(self, wire: FuzzWire, asked: FuzzRequest) -> tuple[FuzzAnswer | None, list[str]]:
        if asked.wire is not None:
            told = wire.try_anything(asked.wire)
            return told, [] if told is None else list(self.judge.faults(asked, told))
        told = wire.ask(asked.raw(), head=asked.method == b"HEAD")
        faults = list(self.judge.faults(asked, told))
        stored = told.headers.get("location", "")
        if told.status == 201 and "/manifests/" in stored:
            pulled = wire.ask(b"GET %s HTTP/1.1\r\nHost: [::1]\r\n\r\n" % stored.encode())
            if pulled.body != asked.body:
                faults.append(f"a manifest was pulled as {pulled.status} {pulled.body[:200]!r}")
        return told, faults

    def _note(
        self, number: int, asked: FuzzRequest | None, told: FuzzAnswer | None, faults: Sequence[str]
    ) -> None:
        code = None
        if asked is not None and told is not None and not faults:
            code = self.judge.code(asked, told)
        with self.lock:
            self.seen[str(told.status) if told else "no answer"] += 1
            self.codes.update([code] if code else [])
            raw = asked.raw()[:500] if asked else b""
            self.faults += [f"seed {SEED}, number {number}: {why}\n  {raw!r}" for why in faults]


@pytest.mark.timeout(900)
def test_no_request_makes_the_registry_fail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Every answer is one that is described, nothing is logged as a fault, and all goes on."""
    numbers = range(REQUESTS) if ALONE is None else [int(ALONE)]
    world = fuzzed()
    api = world.api
    monkeypatch.setattr(wiring, "api", lambda: api)
    with run_gateway(application.app) as url:
        campaign = Campaign(world, url)
        campaign.run(numbers)
        push_and_pull(url)
    print(f"\nseed {SEED}: {dict(sorted(campaign.seen.items()))}\n{dict(campaign.codes)}")
    shown = "\n".join(campaign.faults[:_SHOWN])
    assert not campaign.faults, f"{len(campaign.faults)} faults:\n{shown}"
    assert [record.getMessage() for record in caplog.records if is_fault(record)] == []
    assert sum(campaign.seen.values()) == len(numbers)
    assert ALONE is not None or len(campaign.codes) >= CODES_REACHED, campaign.codes


def is_fault(record: logging.LogRecord) -> bool:
    """Whether a traceback or an error was logged, and not only what the parser refused."""
    refusal = record.getMessage().startswith("Error handling request from")
    return record.exc_info is not None or (record.levelno >= logging.ERROR and not refusal)


def push_and_pull(url: str) -> None:
    """Push an image as clients do, and pull it."""
    descriptors = []
    for data in (b"{}", b"a layer"):
        digest = Digest.of(data)
        _, headers, _ = request(url, "POST", "/v2/after/all/blobs/uploads/")
        _, headers, _ = request(url, "PATCH", headers["Location"], data)
        assert request(url, "PUT", f"{headers['Location']}&digest={digest}")[0] == 201
        assert request(url, "GET", f"/v2/after/all/blobs/{digest}")[2] == data
        descriptors.append({"mediaType": "a/b", "digest": str(digest), "size": len(data)})
    document = {"schemaVersion": 2, "config": descriptors[0], "layers": descriptors[1:]}
    manifest, sent = json.dumps(document).encode(), {"Content-Type": IMAGE}
    assert request(url, "PUT", "/v2/after/all/manifests/v1", manifest, sent)[0] == 201
    assert request(url, "GET", "/v2/after/all/manifests/v1")[2] == manifest
