"""Reports of parts: read strictly, and no claim but the true one is believed."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.digest import Algorithm, Digest, Hasher, UnusableStateError
from chalicelib.errors import DirectUploadInvalidError, RequestInvalidError
from chalicelib.limits import PART_COUNT, PART_MINIMUM
from chalicelib.registry.proof import arrives
from chalicelib.registry.upload.segments import PART_MAXIMUM, PartReport, Report, segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MINIMUM = 64
"""Bytes of the smallest part here, so that many claims can be judged."""


@dataclass(frozen=True)
class Claim:
    """What a client says and S3 has: `stored` are parts by number, also such as nobody names."""

    stored: Mapping[int, bytes]
    document: Any
    digest: Digest
    algorithm: Algorithm

    def believed(self) -> bool:
        """Judge it as the server does: read, assembled, and each segment hashed by itself."""
        try:
            raw = json.dumps(self.document).encode()
            report = Report.parse(raw, self.algorithm, minimum=MINIMUM)
            sizes = {number: len(data) for number, data in self.stored.items()}
            cut = segments(report, sizes, self.algorithm)
        except (RequestInvalidError, DirectUploadInvalidError):
            return False
        data = self.assembled(report)
        return all(
            arrives(segment, pieces(data[segment.start : segment.end]), len(data), self.digest)
            for segment in cut
        )

    def assembled(self, report: Report) -> bytes:
        """Return the object that S3 makes of the parts that a report names."""
        return b"".join(self.stored[part.number] for part in report.parts)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut bytes as a stream does, at no multiple of anything."""
    return (data[at : at + 97] for at in range(0, len(data), 97))


def honest(stored: Mapping[int, bytes], algorithm: Algorithm) -> Claim:
    """Return the claim of a client that sent these parts, in order, and says what is so."""
    hasher, parts = Hasher(algorithm), []
    for number, data in stored.items():
        hasher.update(data)
        parts.append({"number": number, "size": len(data), "state": hasher.words().hex()})
    del parts[-1]["state"]
    return Claim(stored, {"parts": parts}, hasher.digest(), algorithm)


def chance(seed: int) -> Random:
    """Return what makes a claim, or what changes it."""
    return Random(seed)  # noqa: S311 - repeatable, not a secret


def seeded(seed: int) -> Claim:
    """Return an honest claim of some parts, two or more of one size, and a burned part beside."""
    random = chance(seed)
    algorithm = random.choice(list(Algorithm))
    size = algorithm.block_size * random.randint(1, 3)
    sizes = [size, size, *(algorithm.block_size * random.randint(1, 4) for _ in range(3))]
    random.shuffle(sizes)
    sizes[-1] = random.choice((size, random.randint(1, 300)))
    numbers = sorted(random.sample(range(1, 40), len(sizes)))
    claim = honest(
        {number: random.randbytes(size) for number, size in zip(numbers, sizes, strict=True)},
        algorithm,
    )
    burned = {50: random.randbytes(sizes[-1]), 41: random.randbytes(sizes[0])}
    return replace(claim, stored={**claim.stored, **burned})


def _of_parts(change: Callable[[list[Any], Random], None]) -> Callable[[Claim, Random], Claim]:
    def mutated(claim: Claim, random: Random) -> Claim:
        document = deepcopy(claim.document)
        change(document["parts"], random)
        return replace(claim, document=document)

    return mutated


def _any(parts: list[Any], random: Random) -> Any:  # noqa: ANN401 - a part of a JSON document
    return random.choice(parts)


def _size(parts: list[Any], random: Random) -> None:
    _any(parts, random)["size"] += random.choice((-1, 1)) * random.choice((1, 63, 64, 128, 256))


def _boundary(parts: list[Any], random: Random) -> None:
    """Move bytes from one part to the next: the sum stays."""
    at, moved = random.randrange(len(parts) - 1), random.choice((64, 128, -64, -128))
    parts[at]["size"] += moved
    parts[at + 1]["size"] -= moved


def _bit_of_state(parts: list[Any], random: Random) -> None:
    part = _any(parts[:-1], random)
    words = bytearray.fromhex(part["state"])
    words[random.randrange(len(words))] ^= 1 << random.randrange(8)
    part["state"] = words.hex()


def _other_parts_state(parts: list[Any], random: Random) -> None:
    one, other = random.sample(parts[:-1], 2)
    one["state"] = other["state"]


def _swapped_states(parts: list[Any], random: Random) -> None:
    one, other = random.sample(parts[:-1], 2)
    one["state"], other["state"] = other["state"], one["state"]


def _first_words(parts: list[Any], random: Random) -> None:
    """Begin anew after a part: the rest is hashed as a blob of its own."""
    part = _any(parts[:-1], random)
    algorithm = {64: Algorithm.SHA256, 128: Algorithm.SHA512}[len(part["state"])]
    part["state"] = Hasher(algorithm).words().hex()


def _order(parts: list[Any], random: Random) -> None:
    one, other = random.sample(range(len(parts)), 2)
    parts[one], parts[other] = parts[other], parts[one]


def _swapped_numbers(parts: list[Any], random: Random) -> None:
    one, other = random.sample(parts, 2)
    one["number"], other["number"] = other["number"], one["number"]


def _burned_number(parts: list[Any], random: Random) -> None:
    _any(parts, random)["number"] = random.choice((41, 50))


def _number(parts: list[Any], random: Random) -> None:
    _any(parts, random)["number"] += random.choice((-1, 1, 40, PART_COUNT))


def _missing(parts: list[Any], random: Random) -> None:
    parts.remove(_any(parts, random))


def _missing_last(parts: list[Any], _: Random) -> None:
    del parts[-1], parts[-1]["state"]


def _doubled(parts: list[Any], random: Random) -> None:
    at = random.randrange(len(parts))
    parts.insert(at, dict(parts[at]))


def _one_more(parts: list[Any], _: Random) -> None:
    """Name a burned part, too, behind the last one."""
    parts[-1]["state"] = parts[0]["state"]
    parts.append({"number": 50, "size": parts[-1]["size"]})


def _none_at_all(parts: list[Any], _: Random) -> None:
    parts.clear()


def _last_state(parts: list[Any], _: Random) -> None:
    parts[-1]["state"] = parts[0]["state"]


def _no_state(parts: list[Any], random: Random) -> None:
    del _any(parts[:-1], random)["state"]


def _digest(claim: Claim, random: Random) -> Claim:
    return replace(claim, digest=Digest.of(random.randbytes(9), claim.algorithm))


def _digest_of_a_part(claim: Claim, random: Random) -> Claim:
    data = random.choice(list(claim.stored.values()))
    return replace(claim, digest=Digest.of(data, claim.algorithm))


def _last_words_as_digest(claim: Claim, random: Random) -> Claim:
    """Claim what the hash is before it was padded with the size."""
    parts = claim.document["parts"]
    return replace(claim, digest=Digest(claim.algorithm, _any(parts[:-1], random)["state"]))


def _other_session(claim: Claim, random: Random) -> Claim:
    """Bring the report of an upload whose parts have the same sizes and numbers."""
    named = [part["number"] for part in claim.document["parts"]]
    other = {number: random.randbytes(len(claim.stored[number])) for number in named}
    report = honest(other, claim.algorithm)
    digest = random.choice((claim.digest, report.digest))
    return replace(claim, document=report.document, digest=digest)


def _other_algorithm(claim: Claim, _: Random) -> Claim:
    other = next(algorithm for algorithm in Algorithm if algorithm is not claim.algorithm)
    data = b"".join(claim.stored[part["number"]] for part in claim.document["parts"])
    return replace(claim, algorithm=other, digest=Digest.of(data, other))


def _swapped_bytes(claim: Claim, random: Random) -> Claim:
    """Store two parts in each other's place."""
    one, other = random.sample([part["number"] for part in claim.document["parts"]], 2)
    stored = dict(claim.stored)
    stored[one], stored[other] = stored[other], stored[one]
    return replace(claim, stored=stored)


def _other_byte(claim: Claim, random: Random) -> Claim:
    number = random.choice(claim.document["parts"])["number"]
    data = bytearray(claim.stored[number])
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return replace(claim, stored={**claim.stored, number: bytes(data)})


def _cut_short(claim: Claim, random: Random) -> Claim:
    number = random.choice(claim.document["parts"])["number"]
    return replace(claim, stored={**claim.stored, number: claim.stored[number][:-1]})


MUTATIONS: dict[str, Callable[[Claim, Random], Claim]] = {
    **{
        change.__name__.strip("_"): _of_parts(change)
        for change in (
            *(_size, _boundary, _bit_of_state, _other_parts_state, _swapped_states, _first_words),
            *(_order, _swapped_numbers, _burned_number, _number, _missing, _missing_last),
            *(_doubled, _one_more, _none_at_all, _last_state, _no_state),
        )
    },
    **{
        change.__name__.strip("_"): change
        for change in (
            *(_digest, _digest_of_a_part, _last_words_as_digest, _other_session),
            *(_other_algorithm, _swapped_bytes, _other_byte, _cut_short),
        )
    },
}


@given(st.integers(0, 2**32))
def test_a_true_report_is_accepted(seed: int) -> None:
    """The digest is that of hashlib."""
    claim = seeded(seed)
    assert claim.believed()
    report = Report.parse(json.dumps(claim.document).encode(), claim.algorithm, minimum=MINIMUM)
    found = hashlib.new(claim.algorithm.value, claim.assembled(report)).hexdigest()
    assert claim.digest.hex == found


@pytest.mark.parametrize("name", MUTATIONS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_changed_report_is_refused(name: str, seed: int) -> None:
    """Any change is refused, unless it gives the same report."""
    claim = seeded(seed)
    mutated = MUTATIONS[name](claim, chance(seed))
    assert mutated.believed() is (mutated == claim)


@pytest.mark.parametrize("names", [("other_session", "size"), ("digest", "bit_of_state")])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=30)
def test_two_changes_of_a_report_are_refused_too(names: tuple[str, str], seed: int) -> None:
    """A second change never compensates for the first."""
    claim, random = seeded(seed), chance(seed)
    first, second = (MUTATIONS[name] for name in names)
    assert not second(first(claim, random), random).believed()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_too_few_bytes_match_no_report(algorithm: Algorithm) -> None:
    """Neither the words nor the digest of a shorter object is accepted."""
    block = algorithm.block_size
    first, last = bytes(2 * block), b"the rest"
    hasher = Hasher(algorithm)
    hasher.update(first[:block])
    report = Report((PartReport(1, 2 * block, hasher.words()), PartReport(2, len(last), None)))
    inner, _ = segments(report, report.sizes, algorithm)
    total, digest = report.size, Digest.of(first + last, algorithm)
    assert not any(arrives(inner, [first[:n]], total, digest) for n in (block, block + 1))

    inner, ending = segments(honest_report({1: first, 2: last}, algorithm), report.sizes, algorithm)
    assert arrives(inner, [first], total, digest)
    assert arrives(ending, [last], total, digest)
    assert not arrives(inner, [first, b"x"], total, digest)
    assert not arrives(ending, [last], total + 1, digest)
    assert not arrives(ending, [last[:-1]], total, digest)


def honest_report(stored: Mapping[int, bytes], algorithm: Algorithm) -> Report:
    """Return the report of a client that says what is so."""
    raw = json.dumps(honest(stored, algorithm).document).encode()
    return Report.parse(raw, algorithm, minimum=MINIMUM)


@pytest.mark.parametrize("stored", [{1: 128, 2: 6}, {1: 64, 2: 5}, {1: 128}, {}])
def test_the_sizes_of_the_store_count(stored: dict[int, int]) -> None:
    """A report with other sizes, or with a part that does not exist, is refused.

    Also where the sum is the same, and whatever the states are.
    """
    report = honest_report({1: bytes(128), 2: bytes(5)}, Algorithm.SHA256)
    assert len(segments(report, {1: 128, 2: 5, 7: 64}, Algorithm.SHA256)) == len(report.parts)
    with pytest.raises(DirectUploadInvalidError, match="S3 has"):
        segments(report, stored, Algorithm.SHA256)


@given(st.integers(0, 2**32))
def test_a_report_is_dumped_as_one_text_and_read_again(seed: int) -> None:
    """Equal reports are the same bytes, however the client wrote them."""
    claim = seeded(seed)
    spaced = json.dumps(claim.document, indent=3).encode()
    report = Report.parse(spaced, claim.algorithm, minimum=MINIMUM)
    dumped = report.dump()
    assert Report.parse(dumped, claim.algorithm, minimum=MINIMUM) == report
    assert dumped == Report.parse(dumped, claim.algorithm, minimum=MINIMUM).dump()
    assert json.loads(dumped) == claim.document
    assert (report.size, len(report.sizes)) == (sum(report.sizes.values()), len(report.parts))


STATE = "0f" * 32
INNER: dict[str, Any] = {"number": 1, "size": PART_MINIMUM, "state": STATE}
LAST: dict[str, Any] = {"number": 2, "size": 1}


def parse(*parts: object, algorithm: Algorithm = Algorithm.SHA256) -> Report:
    """Read a report of these parts."""
    return Report.parse(json.dumps({"parts": parts}).encode(), algorithm)


def test_the_largest_report_is_read() -> None:
    """10,000 parts, of the smallest and the largest sizes, with sha512's words."""
    inner = [
        {"number": number, "size": size, "state": STATE * 2}
        for number, size in zip(
            range(1, PART_COUNT), [PART_MINIMUM, PART_MAXIMUM] * (PART_COUNT // 2), strict=False
        )
    ]
    report = parse(*inner, {"number": PART_COUNT, "size": 1}, algorithm=Algorithm.SHA512)
    assert len(report.parts) == PART_COUNT
    assert len(report.dump()) < 2_000_000
    assert parse(LAST).parts == (PartReport(2, 1, None),)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "1 to 10000 parts, not 0"),
        (({**INNER, "number": n + 1} for n in range(PART_COUNT + 1)), "1 to 10000 parts"),
        ((INNER,), "the last has no state"),
        ((LAST, LAST), "a number, a size and a state"),
        (({**INNER, "etag": "x"}, LAST), "nothing else"),
        (([1, PART_MINIMUM], LAST), "a number, a size and a state"),
        ((INNER, {"number": 1, "size": 1}), "rise"),
        (({**INNER, "number": 3}, LAST), "rise"),
        (({**INNER, "number": 0}, LAST), "number is 1 to 10000, not 0"),
        ((INNER, {**LAST, "number": PART_COUNT + 1}), "number is 1 to 10000"),
        (({**INNER, "number": "1"}, LAST), "number is 1 to 10000"),
        (({**INNER, "number": True}, LAST), "number is 1 to 10000"),
        (({**INNER, "number": 1.0}, LAST), "number is 1 to 10000"),
        (({**INNER, "size": PART_MINIMUM - 64}, LAST), "5242880 to 1073741824 bytes"),
        (({**INNER, "size": PART_MAXIMUM + 64}, LAST), "5242880 to 1073741824 bytes"),
        (({**INNER, "size": PART_MINIMUM + 1}, LAST), "multiple of 64"),
        (({**INNER, "size": None}, LAST), "bytes, not None"),
        ((INNER, {**LAST, "size": 0}), "1 to 1073741824 bytes"),
        ((INNER, {**LAST, "size": -1}), "1 to 1073741824 bytes"),
        (({**INNER, "state": STATE[:-1]}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": STATE * 2}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": STATE.upper()}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": STATE[:-1] + "٣"}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": STATE[:-2] + " 0"}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": None}, LAST), "64 lower-case hex digits"),
        (({**INNER, "state": list(STATE)}, LAST), "64 lower-case hex digits"),
    ],
)
def test_a_wrong_report_is_refused(parts: Any, says: str) -> None:  # noqa: ANN401 - from JSON
    """The error says what is wrong."""
    with pytest.raises(RequestInvalidError, match=says):
        parse(*parts)


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"[]", b"{", b'{"parts": {}}', b'{"parts": [], "digest": "x"}', b'{"part": []}'),
        b'{"parts": [{"number": 1, "number": 2, "size": 1}]}',
        b'\xef\xbb\xbf{"parts": [{"number": 1, "size": 1}]}',
    ],
)
def test_another_json_document_is_no_report(raw: bytes) -> None:
    """So is a document that two parsers read differently."""
    with pytest.raises(RequestInvalidError):
        Report.parse(raw, Algorithm.SHA256)


def test_states_of_sha512_are_at_multiples_of_128_bytes() -> None:
    """A part of 5 MiB and 64 bytes ends within a block of sha512."""
    part = {"number": 1, "size": PART_MINIMUM + 64, "state": STATE * 2}
    with pytest.raises(RequestInvalidError, match="multiple of 128"):
        parse(part, LAST, algorithm=Algorithm.SHA512)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_hash_state_continues_only_between_blocks(algorithm: Algorithm) -> None:
    """Words are refused within a block, and those of the other algorithm everywhere."""
    words, block = Hasher(algorithm).words(), algorithm.block_size
    assert len(words) == algorithm.words_size
    for wrong, offset in ((words, block + 1), (words[:-1], block), (words * 2, block)):
        with pytest.raises(UnusableStateError):
            Hasher.from_words(algorithm, wrong, offset)
