"""JSON is read if every reader takes it for the same, and refused with its reason otherwise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.strict_json import DEPTH, JsonInvalidError, is_whole, read_object

# fmt: off
REFUSED: list[tuple[bytes, str]] = [
    (b"", "Expecting value"),
    (b"{", "Expecting"),
    (b"{} {}", "Extra data"),
    (b"{}\0", "Extra data"),
    (b"[]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b'"a"', "not a JSON object"),
    (b'{"a": 1,}', "Expecting|Illegal"),
    (b'{"a": 01}', "Expecting"),
    (b'{"a": "\x01"}', "control character"),
    (b"\xef\xbb\xbf{}", "BOM"),
    ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    ('{"a": 1}'.encode("utf-16-le"), "Expecting"),
    ('{"a": 1}'.encode("utf-32-be"), "Expecting"),
    (b'{"a": "\xff"}', "not UTF-8"),
    (b'{"a": "\xc0\xaf"}', "not UTF-8"),
    (b'{"a": "\xed\xa0\xbd"}', "not UTF-8"),
    (b'{"a": NaN}', "NaN"),
    (b'{"a": [Infinity]}', "Infinity"),
    (b'{"a": -Infinity}', "-Infinity"),
    (b'{"a": 1e999}', "too large"),
    (b'{"a": ' + b"9" * 400 + b"}", "too large"),
    (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
    (b'{"a": 1, "a": 1}', "'a' twice"),
    (b'{"a": 1, "\\u0061": 2}', "'a' twice"),
    (b'{"b": [{"c": {"a": 1, "a": 2}}]}', "'a' twice"),
    (b'{"a": "\\ud83d"}', "surrogate"),
    (b'{"a": ["\\uDE00\\uD83D"]}', "surrogate"),
    (b'{"\\ud83d": 1}', "surrogate"),
    (b'{"a":' * DEPTH + b"{}" + b"}" * DEPTH, "inside one another"),
    (b'{"a":' + b"[" * 100_000, "inside one another|Expecting"),
    (b'{"a":' * 100_000, "inside one another|Expecting"),
]
# fmt: on


@pytest.mark.parametrize(("text", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_text_that_parsers_read_differently_is_refused(text: bytes, reason: str) -> None:
    """The error says why, and quotes little of the text."""
    with pytest.raises(JsonInvalidError, match=reason) as caught:
        read_object(text)
    assert len(str(caught.value)) < 200


texts = st.text(st.characters(codec="utf-8"), max_size=9)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=9,
)


@settings(max_examples=50)
@given(st.dictionaries(texts, values, max_size=5), st.booleans())
def test_a_plain_object_is_read_as_it_was_written(document: object, escaped: bool) -> None:  # noqa: FBT001 - from hypothesis
    """Whether its characters are escaped or not; integers above 64 bits may become floats."""
    assert read_object(json.dumps(document, ensure_ascii=escaped).encode()) == document


def test_an_escaped_backslash_is_no_surrogate_and_the_deepest_is_read() -> None:
    """The text backslash-u-d83d is a text like any other; one hundred levels are taken."""
    assert read_object(rb'{"a": "\\ud83d", "b": "\ud83d\ude00"}') == {
        "a": r"\ud83d",
        "b": "\U0001f600",
    }
    deepest = b'{"a":' * (DEPTH - 1) + b"{}" + b"}" * (DEPTH - 1)
    assert json.dumps(read_object(deepest), separators=(",", ":")).encode() == deepest


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("0", True),
        ("1", True),
        (str(2**63 - 1), True),
        (str(2**63), False),
        ("-1", False),
        ("-0", False),
        ("1.0", False),
        ("1e3", False),
        ("true", False),
        ("null", False),
        ('"1"', False),
    ],
)
def test_a_whole_number_is_written_as_one(text: str, whole: bool) -> None:  # noqa: FBT001 - a row of the table
    """What other readers refuse as an integer, or read as another number, is none."""
    assert is_whole(read_object(f'{{"n": {text}}}'.encode())["n"]) is whole
