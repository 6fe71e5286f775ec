"""Trusts: how they are read, and which identities they let in."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.access.credentials import is_credential_name
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import (
    AWS,
    Trust,
    TrustError,
    parse_issuer,
    parse_trust_name,
)

ISSUER = "https://token.example.com"
AUDIENCE = "registry.example.com"
HERE = frozenset({AUDIENCE})


def parsed(**changes: str) -> Trust:
    """Return a trust read from texts, with `changes`."""
    texts = {"issuer": ISSUER, "audience": AUDIENCE, "subject": "repo:org/app:*", **changes}
    name, grant = texts.pop("name", "ci"), texts.pop("grant", "team/**:pull,push")
    return Trust.parse(name, grants=[grant], **texts)


def lets_in(pattern: str, subject: str) -> bool:
    """Whether a trust with that pattern lets a subject in."""
    return parsed(subject=pattern).matches(ISSUER, HERE, subject)


def test_a_trust_is_kept_as_it_is_written() -> None:
    """Writing and reading a trust gives the same parts."""
    assert parsed() == Trust(
        "ci", ISSUER, AUDIENCE, "repo:org/app:*", Grants.parse(["team/**:pull,push"])
    )
    role = "arn:aws:sts::123456789012:assumed-role/ci/*"
    assert parsed(issuer=AWS, audience="", subject=role).issuer == AWS


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
NO_SUBJECTS = ["a\n", "a\0*", " a", "a ", "\ta", "a" * 513, "a\u2028b", "a\ud800"]
OTHER_ACCOUNTS = [
    "arn:aws:sts::*:assumed-role/ci/*", "arn:aws:sts::12345678901*:assumed-role/ci/*",
    "arn:*:sts::123456789012:assumed-role/ci/*", "*:123456789012:assumed-role/ci/*", "*/ci",
    "arn:aws:sts::123456789012", "123456789012", "ci",
]
# fmt: on
WRONG: dict[str, list[dict[str, str]]] = {
    "write .*(https URL|host in lower case)": [{"issuer": text} for text in NO_ISSUERS],
    "leave the audience empty": [{"issuer": AWS}],
    "strangers": [{"subject": text} for text in ("", "*", "**", "*****")],
    "no pattern of subjects": [{"subject": text} for text in NO_SUBJECTS],
    # Anybody can have a role of any name in another account.
    "other people": [{"issuer": AWS, "audience": "", "subject": text} for text in OTHER_ACCOUNTS],
    "can't name a trust": [{"name": "CI"}, {"name": ""}],
    "no audience": [{"audience": text} for text in ("", "a b", "ä", "a" * 256)],
    "no grant": [{"grant": "team/**"}, {"grant": "**:all"}],
}


@pytest.mark.parametrize("text", ISSUERS, ids=range(len(ISSUERS)))
def test_an_issuer_is_aws_or_an_https_url_and_kept_as_it_is(text: str) -> None:
    """An http URL is allowed on loopback."""
    assert parse_issuer(text) == text


@pytest.mark.parametrize("advice", WRONG)
def test_a_wrong_part_of_a_trust_is_named_with_advice(advice: str) -> None:
    """An issuer that could be read in two ways or asked without TLS; a subject of anybody."""
    for changes in WRONG[advice]:
        with pytest.raises(TrustError, match=f"(?s){advice}"):
            parsed(**changes)


def test_a_trust_needs_a_grant() -> None:
    """A trust without a grant would let identities in that may do nothing."""
    with pytest.raises(TrustError, match="name a grant"):
        Trust.parse("ci", issuer=ISSUER, audience=AUDIENCE, subject="a", grants=[])


def test_a_trust_has_a_name_that_a_credential_may_have() -> None:
    """Any other name is refused."""
    assert parse_trust_name("ci.main_2@x-y") == "ci.main_2@x-y"
    names = ["a", "0", "-a", "", "A", "a" * 63, "a" * 64, "a/b", "a\n"]
    assert [name for name in names if is_credential_name(name)] == ["a", "0", "a" * 63]


# fmt: off
MATCHING = [
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


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [*((*row, True) for row in MATCHING), *((*row, False) for row in OTHERS)],
    ids=range(len(MATCHING) + len(OTHERS)),
)
def test_a_star_stands_for_any_run_of_characters(
    pattern: str, subject: str, *, matches: bool
) -> None:
    """Every other character, in its case, stands for itself."""
    assert lets_in(pattern, subject) == matches


@given(
    st.text(alphabet="ab*", min_size=1, max_size=12).filter(lambda text: text.strip("*")),
    st.text(alphabet="ab", max_size=14),
)
def test_patterns_agree_with_those_of_a_shell(pattern: str, subject: str) -> None:
    """Stars match what they match in a shell."""
    assert lets_in(pattern, subject) == fnmatch.fnmatchcase(subject, pattern)


def test_a_hostile_pattern_takes_milliseconds() -> None:
    """A hundred matches take seconds at most."""
    pattern, subject = "*a" * 255 + "b", "a" * 1024
    start = time.perf_counter()
    for _ in range(100):
        assert not lets_in(pattern, subject)
    assert time.perf_counter() - start < 5


def test_a_trust_is_in_one_issuer_and_one_audience() -> None:
    """A token may have several audiences, and one of them must be the trust's."""
    trust, subject = parsed(), "repo:org/app:x"
    assert trust.matches(ISSUER, HERE | {"other"}, subject)
    assert not trust.matches(ISSUER + "/", HERE, subject)
    assert not trust.matches(AWS, HERE, subject)
    assert not trust.matches(ISSUER, frozenset(), subject)
    assert not trust.matches(ISSUER, frozenset({"other", "", AUDIENCE.upper()}), subject)


def test_a_trust_in_aws_has_no_audience() -> None:
    """It lets in no identity of another issuer."""
    arn = "arn:aws:iam::123456789012:user/x"
    trust = parsed(issuer=AWS, audience="", subject=arn)
    assert trust.matches(AWS, frozenset(), arn)
    assert not trust.matches(ISSUER, frozenset({""}), arn)


def test_listing_trusts_loads_no_pyjwt() -> None:
    """PyJWT is loaded only when a token is verified."""
    program = "import sys, chalicelib.access.trusts; print('jwt' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert ran.stdout.strip() == b"False"
