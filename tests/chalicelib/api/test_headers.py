"""Ranges and offsets in headers, against models that count bytes one by one."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.api.headers import parse_offset, parse_range, upload_headers
from chalicelib.content_range import parse_content_range
from chalicelib.errors import RangeInvalidError
from moorage.common.chunked_upload import offset_of

MOST = 10**19 - 1
"""The largest number of 19 digits."""

numbers = st.integers(0, 40) | st.integers(0, MOST)
padding = st.integers(0, 3)
sizes = st.integers(0, 30)
spaces = st.sampled_from(["", " ", "\t", "  "])


def wanted(first: int | None, last: int | None, size: int) -> list[int]:
    """Which bytes of so many a range asks for; one that ends before it begins asks for none."""
    everything = range(size)
    if first is None:
        return [i for i in everything if last is not None and i >= size - last]
    return [i for i in everything if first <= i and (last is None or i <= last)]


def written(number: int | None, zeros: int) -> str:
    """Write a number as a client might, no longer than the longest that is read."""
    return "" if number is None else str(number).rjust(min(len(str(number)) + zeros, 19), "0")


@given(first=st.none() | numbers, last=st.none() | numbers, zeros=padding, size=sizes, space=spaces)
@example(first=None, last=0, zeros=0, size=5, space="")
@example(first=0, last=None, zeros=0, size=0, space="")
@example(first=3, last=1, zeros=0, size=9, space="")
@example(first=0, last=MOST, zeros=0, size=1, space="")
def test_a_range_is_the_bytes_that_it_asks_for(
    first: int | None, last: int | None, zeros: int, size: int, space: str
) -> None:
    """What is read is exactly the bytes there are of those asked for; of none, a refusal."""
    header = f"{space}bytes={written(first, zeros)}-{written(last, zeros)}{space}"
    asked = wanted(first, last, size)
    if first is last is None:
        assert parse_range(header, size) is None
    elif not asked:
        with pytest.raises(RangeInvalidError) as refusal:
            parse_range(header, size)
        assert refusal.value.size == size
    else:
        assert parse_range(header, size) == (asked[0], asked[-1])


@given(
    header=st.text(alphabet="bytes=-,0123456789 \u0661\u00b2", max_size=16)
    | st.builds("{}={}-{}".format, st.text(max_size=6), numbers, numbers)
    | st.builds("bytes={}-{},{}-{}".format, numbers, numbers, numbers, numbers)
    | st.builds("bytes={}-{}".format, st.integers(MOST + 1, MOST**3), numbers),
    size=sizes,
)
def test_a_header_that_is_no_single_byte_range_is_ignored(header: str, size: int) -> None:
    """Only `bytes=` with two numbers of at most 19 ASCII digits is a range."""
    body = header.strip().removeprefix("bytes=")
    first, dash, last = body.partition("-")
    plain = all(n == "" or (n.isascii() and n.isdigit() and len(n) <= 19) for n in (first, last))
    is_range = header.strip().startswith("bytes=") and dash and plain
    try:
        span = parse_range(header, size)
    except RangeInvalidError:
        assert is_range
    else:
        assert span is None or (is_range and 0 <= span[0] <= span[1] < size)


@given(
    first=numbers,
    last=numbers,
    zeros=padding,
    unit=st.sampled_from(["", "bytes ", "bytes="]),
    total=st.sampled_from(["", "/*"]) | st.integers(0, MOST * 100).map("/{}".format),
    space=spaces,
)
def test_a_content_range_is_read_in_every_spelling(  # noqa: PLR0913 - all its parts
    first: int, last: int, zeros: int, unit: str, total: str, space: str
) -> None:
    """With or without a unit and a total, the numbers are read; backwards they are none."""
    header = f"{space}{unit}{written(first, zeros)}-{written(last, zeros)}{total}{space}"
    assert parse_content_range(header) == ((first, last) if first <= last else None)


@given(
    st.builds(
        "{}{}-{}{}".format,
        st.sampled_from(["bytes:", "Bytes ", "lines ", "bytes  ", "-", "+", "byte", "0x"]),
        numbers,
        numbers,
        st.sampled_from(["", "/*"]),
    )
    | st.builds(
        "{}-{}{}".format, numbers, numbers, st.sampled_from(["/", "/x", "/-1", ",0-1", "-"])
    )
    | st.builds("{}-{}".format, st.integers(MOST + 1, MOST**9), numbers)
    | st.builds("{}-{}".format, numbers, st.sampled_from(["\u0661", "\u00b2", "1e3", "", " 5"]))
)
def test_a_content_range_with_anything_else_is_refused(header: str) -> None:
    """Another unit, sign, base, digit or total is not guessed at."""
    assert parse_content_range(header) is None


@given(numbers, padding)
def test_an_offset_is_read(offset: int, zeros: int) -> None:
    """Every offset of 19 digits at most is read, as it was written."""
    assert parse_offset(written(offset, zeros)) == offset


@given(st.text(max_size=24) | st.text(alphabet="0123456789+-_ .e\u0661\u00b2\n", max_size=24))
@example("")
@example("9" * 20)
@example("9" * 5000)
def test_an_offset_in_another_form_is_refused(text: str) -> None:
    """A text is an offset only if it is 1 to 19 ASCII digits."""
    if text.isascii() and text.isdigit() and len(text) <= 19:
        assert parse_offset(text) == int(text)
    else:
        assert parse_offset(text) is None


@given(st.integers(0, MOST))
def test_a_sessions_headers_lead_back_to_its_offset(offset: int) -> None:
    """Location and Range are read as the offset they were made of, by API and proxy alike."""
    headers = upload_headers("a/b", "id", offset)
    assert parse_offset(headers["Location"].rpartition("?at=")[2]) == offset
    assert parse_content_range(headers["Range"]) == (0, max(offset - 1, 0))
    assert offset_of(headers) == offset
