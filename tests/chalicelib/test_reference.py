"""Names, tags and digests, held to the spec's grammar, which is written here a second time.

The texts are drawn from the grammar's own characters, so that many of them nearly fit.
"""

from __future__ import annotations

from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.digest import Algorithm, Digest, InvalidDigestError, UnsupportedAlgorithmError
from chalicelib.errors import DigestInvalidError, NameInvalidError, TagInvalidError
from chalicelib.reference import Tag, parse_name, parse_reference, parse_tag

LOWER = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
LETTERS = LOWER + LOWER.upper()
HEX = DIGITS + "abcdef"
LENGTHS = {"sha256": 64, "sha512": 128}

# As the distribution spec prints it.
NAME = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*"

near_names = st.text(alphabet="ab0._-/", max_size=14) | st.text(
    alphabet="az09._-/AZ \n\u0661\u00e9"
)
long_names = st.builds(
    lambda piece, times, end: piece * times + end,
    st.sampled_from(["a", "ab/", "a-", "a__b/"]),
    st.integers(40, 260),
    st.sampled_from(["", "z", "zz"]),
)
near_tags = st.text(alphabet="aZ0._-", max_size=130) | st.text(alphabet="aZ0._-:/ \n\u0661\u00e9")
near_digests = st.builds(
    "{}{}{}".format,
    st.sampled_from(["sha256", "sha512", "SHA256", "sha384", "md5", "sha256+b64", "", "a..b"]),
    st.sampled_from([":", ":", ":", "", "::", "-"]),
    st.builds(
        lambda text, length: (text * 130)[:length],
        st.text(alphabet=HEX, min_size=1, max_size=8) | st.text(alphabet="a0AFg=_-", min_size=1),
        st.sampled_from([0, 1, 32, 63, 64, 65, 127, 128, 129]),
    ),
)


def is_name(text: str) -> bool:
    """Whether a text is a repository name: components of letters and digits, well separated."""
    return len(text) <= 255 and all(_is_component(part) for part in text.split("/"))


def _is_component(text: str) -> bool:
    """Runs of letters and digits, with one `.`, one or two `_`, or any number of `-` between."""
    runs = ["".join(run) for _, run in groupby(text, key=(LOWER + DIGITS).__contains__)]
    words, separators = runs[::2], runs[1::2]
    return (
        len(runs) % 2 == 1
        and all(set(word) <= set(LOWER + DIGITS) for word in words)
        and all(run in {".", "_", "__"} or set(run) == {"-"} for run in separators)
    )


def is_tag(text: str) -> bool:
    """Whether a text is a tag."""
    plain = set(LETTERS + DIGITS + "_")
    return 1 <= len(text) <= 128 and text[0] in plain and set(text) <= plain | {".", "-"}


def is_digest(text: str) -> bool:
    """Whether a text is a digest that this registry stores."""
    algorithm, colon, digits = text.partition(":")
    return bool(colon) and LENGTHS.get(algorithm) == len(digits) and set(digits) <= set(HEX)


@given(near_names | long_names | st.from_regex(NAME, fullmatch=True) | st.text(max_size=40))
@example("")
@example("a" * 255)
@example("a" * 256)
@example("a/" * 127 + "a")
@example("a\n")
def test_a_name_is_taken_unchanged_or_refused(text: str) -> None:
    """Exactly the grammar's names are taken, as they are."""
    if is_name(text):
        assert parse_name(text) == text
    else:
        with pytest.raises(NameInvalidError):
            parse_name(text)


@given(near_tags | st.text(max_size=140))
@example("")
@example("a" * 128)
@example("a" * 129)
@example("v1\n")
def test_a_tag_is_taken_unchanged_or_refused(text: str) -> None:
    """Exactly the grammar's tags are taken, as they are."""
    if is_tag(text):
        assert str(parse_tag(text)) == text
    else:
        with pytest.raises(TagInvalidError):
            parse_tag(text)


@given(near_digests | st.text(max_size=10))
@example("sha256:")
@example(":" + "a" * 64)
@example(f"sha512:{HEX * 8}")
@example("sha256:" + "A" * 64)
@example("sha256:" + "a" * 63)
@example("sha512:" + "a" * 64)
@example("sha256:" + "a" * 64 + "\n")
@example("SHA256:" + "a" * 64)
def test_a_digest_is_read_back_or_refused(text: str) -> None:
    """Exactly the digests of our algorithms are taken, and print as they were."""
    if is_digest(text):
        assert str(Digest.parse(text)) == text
    else:
        with pytest.raises(InvalidDigestError):
            Digest.parse(text)


@given(st.sampled_from(Algorithm), st.data())
def test_a_digest_with_one_character_changed_is_another_or_none(
    algorithm: Algorithm, data: st.DataObject
) -> None:
    """No two texts are the same digest."""
    text = str(Digest.of(data.draw(st.binary(max_size=8)), algorithm))
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.characters(codec="utf-8")) + text[at + 1 :]
    try:
        found = Digest.parse(changed)
    except InvalidDigestError:
        assert not is_digest(changed)
    else:
        assert str(found) == changed
        assert (found == Digest.parse(text)) is (changed == text)


@given(st.from_regex(r"[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+", fullmatch=True))
@example("md5:d41d8cd98f00b204e9800998ecf8427e")
def test_a_digest_of_another_algorithm_is_said_to_be_one(text: str) -> None:
    """A text of the image spec's grammar is unsupported if it is not of an algorithm of ours."""
    if text.partition(":")[0] not in LENGTHS:
        with pytest.raises(UnsupportedAlgorithmError):
            Digest.parse(text)


@given(near_tags | near_digests | near_names)
def test_a_reference_is_a_tag_or_a_digest_and_never_both(text: str) -> None:
    """A colon says which: what has one is a digest or refused as one, all else a tag."""
    assert not (is_tag(text) and is_digest(text))
    if is_tag(text) or is_digest(text):
        found = parse_reference(text)
        assert str(found) == text
        assert isinstance(found, Tag) is is_tag(text)
    else:
        with pytest.raises(DigestInvalidError if ":" in text else TagInvalidError):
            parse_reference(text)
