"""Names, tags, ranges: properties of what is taken and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.api.headers import parse_content_range, parse_range, upload_headers
from chalicelib.errors import NameInvalidError, RangeInvalidError, TagInvalidError
from chalicelib.reference import parse_name, parse_tag
from moorage.proxy.chunked_upload import offset_of

# As the distribution spec prints them.
NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"
TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}"


@given(st.from_regex(NAME, fullmatch=True).filter(lambda name: len(name) <= 255))
def test_a_name_of_the_spec_is_taken_as_it_is(name: str) -> None:
    """Every name that the spec's expression matches is a name, unchanged."""
    assert parse_name(name) == name


@given(st.text(max_size=40).filter(lambda text: not re.fullmatch(NAME, text)))
def test_no_other_name_is_taken(text: str) -> None:
    """Every other text is refused."""
    with pytest.raises(NameInvalidError):
        parse_name(text)


@given(st.text(max_size=140))
def test_tags_are_the_specs(text: str) -> None:
    """A tag is taken if the spec's expression matches it, else refused."""
    if re.fullmatch(TAG, text):
        assert parse_tag(text).name == text
    else:
        with pytest.raises(TagInvalidError):
            parse_tag(text)


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_within_the_blob(size: int, first: int, last: int) -> None:
    """What a range gives is what slicing gives, or it is unsatisfiable."""
    data = bytes(range(size))
    try:
        span = parse_range(f"bytes={first}-{last}", size)
    except RangeInvalidError:
        assert first >= size or last < first
        return
    assert span is not None
    assert data[span[0] : span[1] + 1] == data[first : last + 1]
    assert span[1] < size


@given(st.text(max_size=30))
def test_no_header_breaks_the_readers(text: str) -> None:
    """Whatever a header says, reading it gives a range within bounds, none, or a refusal."""
    found = parse_content_range(text)
    assert found is None or 0 <= found[0] <= found[1]
    try:
        span = parse_range(text, 10)
    except RangeInvalidError:
        return
    assert span is None or 0 <= span[0] <= span[1] < 10


@given(st.integers(0, 10**15), st.integers(0, 10**6))
def test_a_content_range_survives(first: int, length: int) -> None:
    """A range that is written is read back."""
    assert parse_content_range(f"{first}-{first + length}") == (first, first + length)


@given(st.integers(0, 10**15))
def test_the_proxy_reads_the_offset_that_the_registry_writes(offset: int) -> None:
    """An offset survives the headers exactly, also none and one, which Range can't tell apart."""
    assert offset_of(upload_headers("a/b", "id", offset)) == offset
