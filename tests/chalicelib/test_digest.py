"""Digests and resumable hash states."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.digest import Algorithm, Digest, Hasher, UnusableStateError

# Printed by a Go program: algorithm, how many bytes 0, 1, 2, ... were hashed, the state that
# MarshalBinary gives, the digest.
VECTORS = [
    (Algorithm(name), int(length), bytes.fromhex(state), digest)
    for name, length, state, digest in (
        line.split()
        for line in (Path(__file__).parent / "go_hash_states.txt").read_text().splitlines()
    )
]


@pytest.mark.parametrize(("algorithm", "length", "state", "digest"), VECTORS)
def test_states_have_the_layout_that_go_marshals(
    algorithm: Algorithm, length: int, state: bytes, digest: str
) -> None:
    """A saved state equals Go's byte for byte, and is resumed to the same digest."""
    hasher = Hasher(algorithm)
    hasher.update(bytes(range(length)))
    assert hasher.state() == state
    assert Hasher.restore(algorithm, state, length).digest().hex == digest


@given(st.sampled_from(Algorithm), st.lists(st.binary(max_size=300), max_size=6))
def test_resuming_after_every_chunk_changes_nothing(
    algorithm: Algorithm, chunks: list[bytes]
) -> None:
    """A hash that is saved and restored around each chunk is the hash of the whole."""
    state, offset = Hasher(algorithm).state(), 0
    for chunk in chunks:
        hasher = Hasher.restore(algorithm, state, offset)
        hasher.update(chunk)
        state, offset = hasher.state(), hasher.offset
    found = Hasher.restore(algorithm, state, offset).digest()
    assert found.hex == hashlib.new(algorithm.value, b"".join(chunks)).hexdigest()
    assert found == Digest.of(b"".join(chunks), algorithm)


def _state(data: bytes = b"abc") -> bytes:
    hasher = Hasher()
    hasher.update(data)
    return hasher.state()


@pytest.mark.parametrize(
    ("algorithm", "state", "offset"),
    [
        (Algorithm.SHA256, b"", 3),
        (Algorithm.SHA256, _state()[:-1], 3),
        (Algorithm.SHA256, b"sha\x02" + _state()[4:], 3),
        (Algorithm.SHA256, _state(), 4),
        (Algorithm.SHA512, _state(), 3),
        (Algorithm.SHA256, _state()[:40] + b"\xff" * 60 + _state()[100:], 3),
    ],
    ids=["empty", "short", "version", "offset", "algorithm", "padding"],
)
def test_a_state_that_does_not_fit_is_refused(
    algorithm: Algorithm, state: bytes, offset: int
) -> None:
    """A corrupt state, one of another version or algorithm, or of another offset is refused."""
    with pytest.raises(UnusableStateError):
        Hasher.restore(algorithm, state, offset)
