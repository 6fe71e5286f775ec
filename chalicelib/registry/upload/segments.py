"""A client's report of a blob that it put in parts, and the segments by which it is verified.

The report has the hash's words after each part. Each part is a segment: see
`chalicelib.registry.proof`. This module must never do I/O, nor trust anything in a report.
"""

import json
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, Self

from chalicelib.dataclass import dataclass
from chalicelib.digest import Algorithm, Hasher
from chalicelib.errors import DirectUploadInvalidError, RequestInvalidError
from chalicelib.limits import MIB, PART_COUNT, PART_MINIMUM
from chalicelib.registry.proof import Segment
from chalicelib.strict_json import JsonInvalidError, is_whole, read_object

PART_MAXIMUM = 1024 * MIB
"""Most bytes of a part: as many as a worker reads and hashes in one go, also where S3 is slow."""

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class PartReport:
    """A part: its number, its size in bytes, and the hash's eight words after it.

    The last part has no words: the digest says them.
    """

    number: int
    size: int
    state: bytes | None


@dataclass(frozen=True)
class Report:
    """The parts of a blob in their order, as its client says."""

    parts: tuple[PartReport, ...]

    @classmethod
    def parse(cls, raw: bytes, algorithm: Algorithm, *, minimum: int = PART_MINIMUM) -> Self:
        """Read `{"parts": [{"number", "size", "state"}, ...]}`; the last part has no state.

        Numbers rise, and may leave some out. Each part but the last has at least `minimum` bytes.
        Raises RequestInvalidError for anything else.
        """
        try:
            read = read_object(raw)
        except JsonInvalidError as error:
            raise RequestInvalidError(f"the report can't be read: {error}") from None
        given = read.get("parts")
        if read.keys() != {"parts"} or not isinstance(given, list):
            raise RequestInvalidError('a report is {"parts": [...]}, and nothing else')
        if not 1 <= len(given) <= PART_COUNT:
            raise RequestInvalidError(f"a report has 1 to {PART_COUNT} parts, not {len(given)}")
        last = len(given) - 1
        parts = tuple(
            _last_part(part) if at == last else _inner_part(part, algorithm, minimum)
            for at, part in enumerate(given)
        )
        if any(one.number >= other.number for one, other in pairwise(parts)):
            raise RequestInvalidError("the numbers of the parts have to rise")
        return cls(parts)

    def dump(self) -> bytes:
        """Write the report: for equal reports the same bytes, which `parse` reads."""
        parts = [
            {"number": part.number, "size": part.size}
            | ({} if part.state is None else {"state": part.state.hex()})
            for part in self.parts
        ]
        return json.dumps({"parts": parts}, separators=(",", ":")).encode()

    @property
    def size(self) -> int:
        """The bytes of all parts together."""
        return sum(part.size for part in self.parts)

    @property
    def sizes(self) -> dict[int, int]:
        """The size of each part by its number."""
        return {part.number: part.size for part in self.parts}


def segments(report: Report, sizes: Mapping[int, int], algorithm: Algorithm) -> tuple[Segment, ...]:
    """Return the segment of each part of a report.

    `sizes` says how many bytes S3 has of each part number: these count. Parts that the report
    leaves out are not assembled. Raises DirectUploadInvalidError where report and sizes differ.
    """
    for part in report.parts:
        stored = sizes.get(part.number)
        if stored != part.size:
            have = "none" if stored is None else f"{stored} bytes"
            raise DirectUploadInvalidError(
                f"the report says that part {part.number} has {part.size} bytes, S3 has {have}"
            )
    ends = list(accumulate(part.size for part in report.parts))
    words = [Hasher(algorithm).words(), *(part.state or b"" for part in report.parts[:-1])]
    return tuple(
        Segment(algorithm, index, end - part.size, end, words[index], part.state)
        for index, (part, end) in enumerate(zip(report.parts, ends, strict=True))
    )


def _inner_part(given: object, algorithm: Algorithm, minimum: int) -> PartReport:
    read = _members(given, {"number", "size", "state"})
    number, size = _number_and_size(read, minimum)
    block, digits = algorithm.block_size, 2 * algorithm.words_size
    if size % block:
        raise RequestInvalidError(
            f"part {number} has {size} bytes: each part but the last has a multiple of {block}"
        )
    words = read["state"]
    if not isinstance(words, str) or len(words) != digits or not _HEX.issuperset(words):
        raise RequestInvalidError(
            f"the state of part {number} has to be {digits} lower-case hex digits"
        )
    return PartReport(number, size, bytes.fromhex(words))


def _last_part(given: object) -> PartReport:
    return PartReport(*_number_and_size(_members(given, {"number", "size"}), 1), None)


def _members(given: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict) or given.keys() != names:
        raise RequestInvalidError(
            "a part has a number, a size and a state, and nothing else; the last has no state"
        )
    return given


def _number_and_size(read: Mapping[str, Any], minimum: int) -> tuple[int, int]:
    number, size = read["number"], read["size"]
    if not is_whole(number) or not 1 <= number <= PART_COUNT:
        raise RequestInvalidError(f"a part's number is 1 to {PART_COUNT}, not {str(number)[:20]}")
    if not is_whole(size) or not minimum <= size <= PART_MAXIMUM:
        raise RequestInvalidError(
            f"part {number} has to have {minimum} to {PART_MAXIMUM} bytes, not {str(size)[:20]}"
        )
    return number, size
