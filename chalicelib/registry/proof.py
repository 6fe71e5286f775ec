"""The proof that bytes have a digest, in pieces that are hashed independently.

A *segment* is a span of an object with the hash's eight words before it and after it. It holds if
hashing its bytes leads from the words before it to those after it. If adjoining segments all hold,
from the algorithm's initial words to the digest, the whole has the digest, no matter who gave the
words. This module must never do I/O.
"""

from collections.abc import Iterable

from chalicelib.dataclass import dataclass
from chalicelib.digest import Algorithm, Digest, Hasher


@dataclass(frozen=True)
class Segment:
    """The bytes from `start` up to `end`, and the hash's words before and after them.

    `after` is None for the last one, behind which is the digest. `index` counts from 0.
    """

    algorithm: Algorithm
    index: int
    start: int
    end: int
    before: bytes
    after: bytes | None

    @property
    def size(self) -> int:
        """Its bytes: one at least."""
        return self.end - self.start


@dataclass(frozen=True)
class Stretch:
    """Some segments of an object of `size` bytes under its ETag, for one worker to verify."""

    key: str
    etag: str
    size: int
    digest: Digest
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Verdict:
    """What a worker found of a stretch: indexes of segments that hold, and of such as do not.

    Of those in neither it found nothing: it failed, or had no time. Nobody saves a verdict but the
    driver that has asked for it.
    """

    held: frozenset[int] = frozenset()
    wrong: frozenset[int] = frozenset()


def arrives(segment: Segment, chunks: Iterable[bytes], total: int, digest: Digest) -> bool:
    """Whether a segment's bytes lead from the words before it to those after it.

    `total` is the size of the whole object in bytes: the last segment has to end there, and its
    hash, padded with that size, has to be `digest`. Other bytes than the segment's count arrive
    nowhere.
    """
    hasher = Hasher.from_words(segment.algorithm, segment.before, segment.start)
    for chunk in chunks:
        hasher.update(chunk)
    if hasher.offset != segment.end:
        return False
    if segment.after is None:
        return segment.end == total and hasher.digest() == digest
    return hasher.words() == segment.after
