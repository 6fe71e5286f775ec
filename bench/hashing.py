"""``python -m bench.hashing``: the resumable hasher against hashlib, chunk by chunk.

Our side saves and restores its state around every chunk, as an upload of many requests does;
hashlib's does not, because it can't.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from chalicelib.digest import Hasher

CHUNK = 4 << 20
CHUNKS = 16
ROUNDS = 9
TARGET = 1.10


@dataclass(frozen=True)
class HashSpeed:
    """Medians of seconds for all chunks; ``ratio`` is ours over hashlib's."""

    chunk_bytes: int
    chunks: int
    rounds: int
    hasher_seconds: float
    hashlib_seconds: float
    ratio: float
    target: float
    met: bool


def measure() -> dict[str, Any]:
    """Time both over the same chunks in alternation; raises if their digests differ."""
    chunks = [os.urandom(CHUNK) for _ in range(CHUNKS)]
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        seconds, digest = _hasher(chunks)
        ours.append(seconds)
        seconds, expected = _hashlib(chunks)
        theirs.append(seconds)
        if digest != expected:
            raise AssertionError(f"the hasher says {digest}, hashlib says {expected}")
    ratio = median(ours) / median(theirs)
    speed = HashSpeed(
        CHUNK, CHUNKS, ROUNDS, median(ours), median(theirs), ratio, TARGET, ratio <= TARGET
    )
    return asdict(speed)


def sentence(speed: dict[str, Any]) -> str:
    """Say the result in a line."""
    total = speed["chunk_bytes"] * speed["chunks"] / 1e6
    return (
        f"hashing: {total / speed['hasher_seconds']:.0f} MB/s with state saved and restored per "
        f"chunk, hashlib {total / speed['hashlib_seconds']:.0f} MB/s: ratio {speed['ratio']:.3f}, "
        f"target {speed['target']:.2f}, {'met' if speed['met'] else 'MISSED'}"
    )


def _hasher(chunks: list[bytes]) -> tuple[float, str]:
    started = time.perf_counter()
    state = Hasher("sha256").state()
    offset = 0
    for chunk in chunks:
        hasher = Hasher.restore("sha256", state, offset)
        hasher.update(chunk)
        offset += len(chunk)
        state = hasher.state()
    digest = Hasher.restore("sha256", state, offset).digest()
    return time.perf_counter() - started, str(digest)


def _hashlib(chunks: list[bytes]) -> tuple[float, str]:
    started = time.perf_counter()
    running = hashlib.sha256()
    for chunk in chunks:
        running.update(chunk)
    return time.perf_counter() - started, f"sha256:{running.hexdigest()}"


if __name__ == "__main__":
    print(sentence(measure()))
    sys.exit(0)
