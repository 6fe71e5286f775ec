"""Trusts: which of another issuer's identities may log in here, and with which grants.

A trust holds no secret. This module must never build a regular expression from a pattern, nor load
what verifies a token: listing trusts needs none of that.

A subject pattern is a text in which `*` stands for any run of characters, none included, and
everything else for itself:

    repo:org/app:ref:refs/heads/main             that branch
    repo:org/app:*                               whatever runs in that repository
    arn:aws:sts::123456789012:assumed-role/ci/*  every session of that role
"""

import re
from collections.abc import Iterable
from typing import Self

from chalicelib.access.credentials import is_credential_name
from chalicelib.access.grants import GrantError, Grants
from chalicelib.dataclass import dataclass

MAX_TRUSTS = 100
"""Most trusts of one registry: each token exchange reads all of them."""

AWS = "aws"
"""The issuer of AWS identities, which STS confirms."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
"""The hosts that a request may go to without TLS: it does not leave this machine."""

_STAR = "*"
_QUOTED = 300
_LONGEST_SUBJECT = 512
# Neither user information, query nor fragment, and no character that two readers of URLs might
# take for different things.
_ISSUER = (
    r"(?P<scheme>https?)://(?P<host>\[::1\]|[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?)"
    r"(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~:%/-]{0,200})?"
)
_AUDIENCE = r"[!-~]{1,255}"
_ACCOUNT = r"arn:aws[a-z-]{0,20}:(?:sts|iam)::[0-9]{12}:"


class TrustError(ValueError):
    """A text that can't be a part of a trust; the message says what can."""


@dataclass(frozen=True)
class Trust:
    """Grants for identities of `issuer` whose subject matches `subject`, a pattern.

    `audience` is the one that their tokens must name; it is empty for the issuer `aws`, whose
    proofs are bound to this registry otherwise.
    """

    name: str
    issuer: str
    audience: str
    subject: str
    grants: Grants

    @classmethod
    def parse(
        cls, name: str, *, issuer: str, audience: str, subject: str, grants: Iterable[str]
    ) -> Self:
        """Read a trust from texts, grants as `Grants.parse` reads them; raises TrustError."""
        return cls(
            parse_trust_name(name),
            parse_issuer(issuer),
            _parse_audience(issuer, audience),
            _of_one_account(parse_subject(subject)) if issuer == AWS else parse_subject(subject),
            _parse_grants(grants),
        )

    def matches(self, issuer: str, audiences: frozenset[str], subject: str) -> bool:
        """Whether this trust lets in a verified identity."""
        return (
            issuer == self.issuer
            and (issuer == AWS or self.audience in audiences)
            and _matches(self.subject, subject)
        )


def parse_trust_name(text: str) -> str:
    """Return a trust's name unchanged: one that a credential may have; raises TrustError."""
    if not is_credential_name(text):
        raise TrustError(
            f"{text[:100]!r} can't name a trust: write lower-case letters, digits, '.', '_', '@'"
            " and '-', beginning with a letter or digit, at most 63 characters"
        )
    return text


def parse_issuer(text: str) -> str:
    """Return an issuer unchanged: it is compared with tokens' `iss`, character by character.

    Raises TrustError.
    """
    if text == AWS:
        return text
    form = re.fullmatch(_ISSUER, text)
    if form is None:
        raise TrustError(
            f"{text[:_QUOTED]!r} is no issuer: write `{AWS}`, or an https URL exactly as its tokens"
            " have it in `iss`, with no user, query or fragment and its host in lower case"
        )
    if form["scheme"] != "https" and form["host"] not in LOOPBACK:
        raise TrustError(
            f"{text[:_QUOTED]!r} would be asked for its keys without TLS, and anybody on the way"
            " could answer: write an https URL"
        )
    return text


def parse_subject(text: str) -> str:
    """Return a pattern of subjects unchanged; raises TrustError."""
    if not text.strip(_STAR):
        raise TrustError(
            f"the subject {text[:_QUOTED]!r} names nobody: everybody whom the issuer knows would be"
            " let in, strangers too; write at least what their subjects begin with, such as"
            " `repo:org/app:*`"
        )
    if len(text) > _LONGEST_SUBJECT or not text.isprintable() or text != text.strip():
        raise TrustError(
            f"{text[:_QUOTED]!r} is no pattern of subjects: write at most {_LONGEST_SUBJECT}"
            " printable characters, with no space at either end"
        )
    return text


def _of_one_account(text: str) -> str:
    # Anybody can have an account at AWS, and a role of any name in it.
    if not re.match(_ACCOUNT, text):
        raise TrustError(
            f"{text[:_QUOTED]!r} does not name the AWS account, and roles of the same name are in"
            " other people's accounts too: write it in full, such as"
            " `arn:aws:sts::123456789012:assumed-role/ci/*`"
        )
    return text


def _parse_audience(issuer: str, text: str) -> str:
    if issuer == AWS:
        if text:
            raise TrustError(
                f"a trust in `{AWS}` has no audience: its proofs are made for this registry by the"
                " name of its host; leave the audience empty"
            )
        return text
    if not re.fullmatch(_AUDIENCE, text):
        raise TrustError(
            f"{text[:_QUOTED]!r} is no audience: write what the tokens have in `aud`, 1 to 255"
            " characters without spaces, best the host of this registry; a token for another"
            " service is no proof here"
        )
    return text


def _parse_grants(texts: Iterable[str]) -> Grants:
    try:
        grants = Grants.parse(texts)
    except GrantError as error:
        raise TrustError(str(error)) from None
    if not grants:
        raise TrustError("a trust without grants lets nobody do anything: name a grant")
    return grants


def _matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern.

    Each piece between two stars is searched for once, after the piece before: the leftmost match
    leaves the most to the rest, so no other one has to be tried.
    """
    first, *rest = pattern.split(_STAR)
    if not rest:
        return subject == first
    *middle, last = rest
    at, end = len(first), len(subject) - len(last)
    if at > end or not subject.startswith(first) or not subject.endswith(last):
        return False
    for piece in middle:
        found = subject.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
