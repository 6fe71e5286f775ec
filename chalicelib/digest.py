"""Content digests, and hashers whose state can be saved in one invocation and resumed in the next.

This module must never write a state in a layout that only one library can read, and never guess:
a state that does not fit is refused with `UnusableStateError`.
"""

import enum
import hashlib
import re
import struct
from functools import lru_cache
from typing import NamedTuple, Protocol, Self

import rehashes

from chalicelib.dataclass import dataclass


class Algorithm(enum.StrEnum):
    """A digest algorithm of the OCI image spec that this registry stores and answers."""

    SHA256 = "sha256"
    SHA512 = "sha512"

    @property
    def block_size(self) -> int:
        """Bytes of a block: at a multiple of it, the words and the length are the whole state."""
        return _LAYOUTS[self].block_size

    @property
    def words_size(self) -> int:
        """Bytes of the eight words."""
        return _LAYOUTS[self].words_size


class InvalidDigestError(ValueError):
    """A text that is no digest in the OCI image spec's grammar."""


class UnsupportedAlgorithmError(InvalidDigestError):
    """A well-formed digest (or an algorithm's name) of an algorithm this registry does not have."""


class UnusableStateError(ValueError):
    """A saved hash state that is corrupt, of another layout, or of another offset."""


# OCI image spec, descriptor.md "Digests": algorithm[+._-algorithm]:encoded
_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = re.compile(r"[a-f0-9]+")


@dataclass(frozen=True)
class Digest:
    """`algorithm:hex`, the name of a blob's or a manifest's bytes."""

    algorithm: Algorithm
    hex: str

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read `sha256:<64 hex>` or `sha512:<128 hex>`.

        Raises UnsupportedAlgorithmError for another well-formed digest, InvalidDigestError for
        everything else. Source: OCI image spec, descriptor.md.
        """
        return _parsed(text)

    @classmethod
    def of(cls, data: bytes, algorithm: Algorithm = Algorithm.SHA256) -> Self:
        """Compute the digest of bytes that are in memory."""
        return cls(algorithm, hashlib.new(algorithm.value, data).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm.value}:{self.hex}"


# The same few are read again and again: a request's in each item of its blob. One takes 300 bytes.
@lru_cache(maxsize=1024)
def _parsed(text: str) -> Digest:
    if not _GRAMMAR.fullmatch(text):
        raise InvalidDigestError(f"{text[:200]!r} is not a digest: expected algorithm:hex")
    name, _, encoded = text.partition(":")
    algorithm = parse_algorithm(name)
    length = _LAYOUTS[algorithm].digest_size * 2
    if len(encoded) != length or not _HEX.fullmatch(encoded):
        raise InvalidDigestError(
            f"{text[:200]!r} is not a {name} digest: expected {length} lower-case hex digits"
        )
    return Digest(algorithm, encoded)


def parse_algorithm(name: str) -> Algorithm:
    """Read an algorithm's name; raises UnsupportedAlgorithmError for one this registry lacks."""
    try:
        return Algorithm(name)
    except ValueError:
        known = ", ".join(algorithm.value for algorithm in Algorithm)
        raise UnsupportedAlgorithmError(
            f"digest algorithm {name[:100]!r} is not supported: use one of {known}"
        ) from None


class _Engine(Protocol):
    """What `rehashes` offers: a hash whose state can be taken out and put back."""

    def update(self, data: bytes) -> None: ...

    def finalize(self) -> str: ...

    def serialize(self) -> bytes: ...


class _EngineType(Protocol):
    def __call__(self) -> _Engine: ...

    def deserialize(self, data: bytes) -> _Engine: ...


class _Layout(NamedTuple):
    """The two layouts of one algorithm's state: Go's, which is saved, and the engine's own.

    Go's (crypto/sha256 and crypto/sha512, MarshalBinary): a 4-byte magic, 8 big-endian words, the
    current block zero-padded to its size, the length in bytes as a big-endian 64-bit number.
    The engine's: 8 little-endian words, a little-endian count of whole blocks, one byte of
    position in the block, the block's bytes but the last.
    """

    engine: _EngineType
    magic: bytes
    word: str
    block_size: int
    counter_size: int
    digest_size: int

    @property
    def words_size(self) -> int:
        return 8 * struct.calcsize(self.word)

    @property
    def state_size(self) -> int:
        return len(self.magic) + self.words_size + self.block_size + 8

    def marshal(self, own: bytes) -> bytes:
        words = struct.unpack_from(f"<8{self.word}", own)
        position_at = self.words_size + self.counter_size
        blocks = int.from_bytes(own[self.words_size : position_at], "little")
        position = own[position_at]
        tail = own[position_at + 1 : position_at + 1 + position]
        length = blocks * self.block_size + position
        return b"".join(
            (
                self.magic,
                struct.pack(f">8{self.word}", *words),
                tail.ljust(self.block_size, b"\0"),
                struct.pack(">Q", length),
            )
        )

    def unmarshal(self, state: bytes) -> tuple[_Engine, int]:
        if len(state) != self.state_size or not state.startswith(self.magic):
            raise UnusableStateError("not a hash state of this algorithm and version")
        words = struct.unpack_from(f">8{self.word}", state, len(self.magic))
        block_at = len(self.magic) + self.words_size
        (length,) = struct.unpack_from(">Q", state, block_at + self.block_size)
        blocks, position = divmod(length, self.block_size)
        block = state[block_at : block_at + self.block_size]
        if any(block[position:]):
            raise UnusableStateError("a hash state whose block and length disagree")
        own = b"".join(
            (
                struct.pack(f"<8{self.word}", *words),
                blocks.to_bytes(self.counter_size, "little"),
                bytes((position,)),
                block[:-1],
            )
        )
        return self.engine.deserialize(own), length


_LAYOUTS = {
    Algorithm.SHA256: _Layout(rehashes.PySha256, b"sha\x03", "I", 64, 8, 32),
    Algorithm.SHA512: _Layout(rehashes.PySha512, b"sha\x07", "Q", 128, 16, 64),
}


class Hasher:
    """A running digest over a blob's bytes, resumable from `state()` in another process."""

    def __init__(self, algorithm: Algorithm | str = Algorithm.SHA256) -> None:
        self.algorithm = Algorithm(algorithm)
        self._layout = _LAYOUTS[self.algorithm]
        self._engine: _Engine = self._layout.engine()
        self.offset = 0
        """How many bytes have been hashed."""

    @classmethod
    def restore(cls, algorithm: Algorithm | str, state: bytes, offset: int) -> Self:
        """Continue from a saved state, which must have hashed exactly `offset` bytes.

        Raises UnusableStateError when the state is corrupt, of another layout or algorithm, or at
        another offset: then the bytes themselves have to be read again.
        """
        hasher = cls(algorithm)
        engine, length = hasher._layout.unmarshal(state)
        if length != offset:
            raise UnusableStateError(
                f"the state has hashed {length} bytes, the upload has {offset}"
            )
        hasher._engine = engine
        hasher.offset = offset
        return hasher

    @classmethod
    def from_words(cls, algorithm: Algorithm | str, words: bytes, offset: int) -> Self:
        """Continue from the eight words, big-endian, that a hash has after `offset` bytes.

        Raises UnusableStateError where they are no words of this algorithm, or the offset is no
        multiple of its block: then bytes of a block would be missing.
        """
        layout = _LAYOUTS[Algorithm(algorithm)]
        if len(words) != layout.words_size or offset % layout.block_size:
            raise UnusableStateError(f"these are no words of {algorithm} after {offset} bytes")
        state = b"".join((layout.magic, words, bytes(layout.block_size), struct.pack(">Q", offset)))
        return cls.restore(algorithm, state, offset)

    def update(self, data: bytes) -> None:
        """Hash more bytes."""
        self._engine.update(data)
        self.offset += len(data)

    def state(self) -> bytes:
        """Return the state in Go's layout: 108 bytes for sha256, 204 for sha512."""
        return self._layout.marshal(self._engine.serialize())

    def words(self) -> bytes:
        """Return the eight words, big-endian: of whole blocks alone; see `from_words`."""
        return self.state()[len(self._layout.magic) :][: self._layout.words_size]

    def digest(self) -> Digest:
        """Return the digest of all bytes so far; hashing may go on afterwards."""
        return Digest(self.algorithm, self._engine.finalize())
