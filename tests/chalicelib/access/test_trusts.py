"""Trusts: what can be said in one, and whom it lets in."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.grants import Grants
from chalicelib.access.trusts import (
    AWS,
    Trust,
    TrustError,
    is_trust_name,
    parse_issuer,
    parse_subject,
    parse_trust_name,
)

ISSUER = "https://token.example.com"
AUDIENCE = "registry.example.com"
HERE = frozenset({AUDIENCE})


def parsed(**changes: str) -> Trust:
    """Return a trust read from texts, with `changes`."""
    texts = {"issuer": ISSUER, "audience": AUDIENCE, "subject": "repo:org/app:*", **changes}
    return Trust.parse(
        texts.get("name", "ci"),
        issuer=texts["issuer"],
        audience=texts["audience"],
        subject=texts["subject"],
        grants=[texts.get("grant", "team/**:pull,push")],
    )


def fits(pattern: str, subject: str) -> bool:
    """Whether a trust with that pattern lets a subject in."""
    return parsed(subject=pattern).matches(ISSUER, HERE, subject)


def test_parse() -> None:
    """A trust is kept as it is written."""
    assert parsed() == Trust(
        "ci", ISSUER, AUDIENCE, "repo:org/app:*", Grants.parse(["team/**:pull,push"])
    )
    role = "arn:aws:sts::123456789012:assumed-role/ci/*"
    assert parsed(issuer=AWS, audience="", subject=role).issuer == AWS


@pytest.mark.parametrize(
    "subject",
    [
        "arn:aws:sts::*:assumed-role/ci/*",
        "arn:aws:sts::12345678901*:assumed-role/ci/*",
        "arn:*:sts::123456789012:assumed-role/ci/*",
        "*:123456789012:assumed-role/ci/*",
        "*/ci",
        "arn:aws:sts::123456789012",
        "123456789012",
        "ci",
    ],
    ids=range(8),
)
def test_a_trust_in_aws_is_in_one_account(subject: str) -> None:
    """A trust in AWS names the account: anybody can have a role of any name in another."""
    with pytest.raises(TrustError, match="other people"):
        parsed(issuer=AWS, audience="", subject=subject)


# fmt: off
ISSUERS = [
    "https://token.example.com", "https://token.example.com/", "https://gitlab.example.com:8443",
    "https://example.com/realms/Team%20A/v2.0", "https://10.0.0.7/x", "https://sso.example:1",
    "http://127.0.0.1:8000", "http://localhost", "http://[::1]:9/x", "https://localhost", "aws",
]
NO_ISSUERS = [
    "", "AWS", "aws ", "example.com", "//example.com", "ftp://example.com", "https://",
    "HTTPS://example.com", "https://Example.com", "https://example.com?x", "https://example.com#x",
    "https://user@example.com", "https://user:secret@example.com", "https://example.com/@x",
    "https://example.com\\.evil.example", "https://exa mple.com", "https://example.com\n",
    "https://example.com/\0", "https://-example.com", "https://example.com.", "https://[::1",
    "https://ex\u00e4mple.com", "https://example.com:", "https://example.com:123456", "https:///x",
    "file:///etc/passwd", "http://example.com", "http://127.0.0.1.evil.example", "http://127.0.0.2",
    "http://localhost.evil.example", "http://169.254.169.254", "http://user@localhost",
    "http://[::2]", "https://example.com/" + "x" * 300,
]
# fmt: on


@pytest.mark.parametrize("text", ISSUERS, ids=range(len(ISSUERS)))
def test_issuers(text: str) -> None:
    """An issuer is `aws`, an https URL, or one of http on loopback; it is kept as it is."""
    assert parse_issuer(text) == text


@pytest.mark.parametrize("text", NO_ISSUERS, ids=range(len(NO_ISSUERS)))
def test_what_is_no_issuer(text: str) -> None:
    """What could be read in two ways, or asked by anybody on the way, is refused with advice."""
    with pytest.raises(TrustError, match="write"):
        parse_issuer(text)


@pytest.mark.parametrize("pattern", ["", "*", "**", "*****"])
def test_nobody_trusts_everybody(pattern: str) -> None:
    """A pattern of stars alone is refused, and it is said why."""
    with pytest.raises(TrustError, match="strangers"):
        parse_subject(pattern)


BAD_SUBJECTS = ["a\n", "a\0*", " a", "a ", "\ta", "a" * 513, "a\u2028b", "a\ud800"]


@pytest.mark.parametrize("pattern", BAD_SUBJECTS, ids=range(len(BAD_SUBJECTS)))
def test_what_is_no_subject(pattern: str) -> None:
    """A pattern can be printed, and is not longer than a subject should be."""
    with pytest.raises(TrustError, match="no pattern of subjects"):
        parse_subject(pattern)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "CI"}, "can't name a trust"),
        ({"name": ""}, "can't name a trust"),
        ({"audience": ""}, "no audience"),
        ({"audience": "a b"}, "no audience"),
        ({"audience": "ä"}, "no audience"),
        ({"audience": "a" * 256}, "no audience"),
        ({"issuer": AWS}, "leave the audience empty"),
        ({"grant": "team/**"}, "no grant"),
        ({"grant": "**:all"}, "no grant"),
    ],
    ids=range(9),
)
def test_what_is_no_trust(changes: dict[str, str], said: str) -> None:
    """Every part of a trust is looked at, and a wrong one is named."""
    with pytest.raises(TrustError, match=said):
        parsed(**changes)


def test_a_trust_without_grants() -> None:
    """A trust grants something."""
    with pytest.raises(TrustError, match="name a grant"):
        Trust.parse("ci", issuer=ISSUER, audience=AUDIENCE, subject="a", grants=[])


def test_names() -> None:
    """A trust is called as a credential may be."""
    assert parse_trust_name("ci.main_2@x-y") == "ci.main_2@x-y"
    names = ["a", "0", "-a", "", "A", "a" * 63, "a" * 64, "a/b", "a\n"]
    assert [name for name in names if is_trust_name(name)] == ["a", "0", "a" * 63]


# fmt: off
FITTING = [
    ("a", "a"), ("a*", "a"), ("a*", "abc"), ("*a", "a"), ("*a", "bca"), ("a*b", "ab"),
    ("a*b", "aab"), ("a*b", "abab"), ("a**b", "acb"), ("*a*", "a"), ("*a*", "bab"),
    ("a*b*c", "a1b2c"), ("a*b*c", "abbcbc"), ("a*ab*b", "aabb"), ("*x*", "x\ny"),
    ("repo:org/app:ref:refs/heads/main", "repo:org/app:ref:refs/heads/main"),
    ("repo:org/app:*", "repo:org/app:pull_request"),
    ("repo:org/*:ref:refs/heads/main", "repo:org/app:ref:refs/heads/main"),
    ("arn:aws:sts::123456789012:assumed-role/ci/*",
     "arn:aws:sts::123456789012:assumed-role/ci/i-0123"),
    ("[ab]?", "[ab]?"), ("a.c", "a.c"), ("a|b", "a|b"), ("(a+)+$", "(a+)+$"),
]
OTHERS = [
    ("a", "A"), ("a", "ab"), ("a", ""), ("a", "*"), ("a*", "A"), ("a*", "ba"), ("*a", "ab"),
    ("a*b", "a"), ("a*b", "b"), ("a*b", "abc"), ("a*a", "a"), ("ab*ba", "aba"), ("a*b*c", "ac"),
    ("a*b*b", "ab"), ("a*bc*c", "abc"), ("*ab*ab*", "abxa"), ("*a*", "b"),
    ("repo:org/app:*", "repo:org/app2:ref:x"), ("repo:org/app:*", "repo:org/appx"),
    ("repo:org/app:*", "xrepo:org/app:x"), ("repo:org/app:*", "REPO:ORG/APP:x"),
    ("arn:aws:sts::123456789012:assumed-role/ci/*",
     "arn:aws:sts::123456789012:assumed-role/ci2/x"),
    ("[ab]", "a"), ("a?", "ab"), ("a.c", "abc"), ("a|b", "a"), ("\\*a", "*a"), ("a+", "aa"),
]
# fmt: on


@pytest.mark.parametrize(("pattern", "subject"), FITTING, ids=range(len(FITTING)))
def test_who_is_let_in(pattern: str, subject: str) -> None:
    """A star stands for any run of characters, and everything else for itself."""
    assert fits(pattern, subject)


@pytest.mark.parametrize(("pattern", "subject"), OTHERS, ids=range(len(OTHERS)))
def test_who_is_not(pattern: str, subject: str) -> None:
    """Nobody else is let in: no other letter case, no prefix, no sign that means more elsewhere."""
    assert not fits(pattern, subject)


@given(
    st.text(alphabet="ab*", min_size=1, max_size=12).filter(lambda text: text.strip("*")),
    st.text(alphabet="ab", max_size=14),
)
def test_patterns_as_a_shell_has_them(pattern: str, subject: str) -> None:
    """Stars mean what they do in a shell's patterns of names."""
    assert fits(pattern, subject) == fnmatch.fnmatchcase(subject, pattern)


def test_no_pattern_takes_long() -> None:
    """The worst pattern and subject that can be are judged at once."""
    pattern, subject = "*a" * 255 + "b", "a" * 1024
    start = time.perf_counter()
    for _ in range(100):
        assert not fits(pattern, subject)
    assert time.perf_counter() - start < 5


def test_issuer_and_audience() -> None:
    """A trust is in one issuer, and takes what is meant for its audience, perhaps among others."""
    trust, subject = parsed(), "repo:org/app:x"
    assert trust.matches(ISSUER, HERE | {"other"}, subject)
    assert not trust.matches(ISSUER + "/", HERE, subject)
    assert not trust.matches(AWS, HERE, subject)
    assert not trust.matches(ISSUER, frozenset(), subject)
    assert not trust.matches(ISSUER, frozenset({"other", "", AUDIENCE.upper()}), subject)


def test_aws_has_no_audience() -> None:
    """A trust in AWS asks for no audience, and lets in nobody of another issuer."""
    arn = "arn:aws:iam::123456789012:user/x"
    trust = parsed(issuer=AWS, audience="", subject=arn)
    assert trust.matches(AWS, frozenset(), arn)
    assert not trust.matches(ISSUER, frozenset({""}), arn)


def test_trusts_load_no_verifier() -> None:
    """Whoever lists trusts does not wait for the library that verifies tokens."""
    program = "import sys, chalicelib.access.trusts; print('jwt' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout.strip() == b"False"
