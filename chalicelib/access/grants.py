"""Grants: which repositories, by a pattern of names, and what may be done there.

This module must never build a regular expression from a pattern, nor allow what no grant names: an
unknown right, a name outside the grammar and an empty list of grants allow nothing.

A pattern is a repository name in which `*` stands for any characters of one component, none
included, and `**`, always a component of its own, for one or more components:

    team/app      that repository
    team/*        team/app, not team and not team/app/base
    team/**       team/app and team/app/base, not team
    team/app-*    team/app-, with anything but a slash after it
    **            every repository
"""

import enum
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from chalicelib.reference import MAX_NAME_LENGTH, is_name

MAX_GRANTS = 64
"""Most grants of one credential: they are in its item, which is read whole."""

_ADMIN = "admin"
_QUOTED = 300
_DEEP = "**"
_STAR = "*"


class GrantError(ValueError):
    """A text that is no grant; the message says what is one."""


class Right(enum.StrEnum):
    """What can be done in a repository. None implies another: pushing is not reading."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


_RIGHTS = frozenset(map(str, Right))


class _Program(NamedTuple):
    """A pattern's characters and wildcards by position, one bit for each.

    `literals`: where a character stands; `star`, `deep`: where the wildcards do; `end`: the bit
    behind the last.
    """

    literals: Mapping[str, int]
    star: int
    deep: int
    end: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of repository names, as the module's head describes it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern; raises GrantError, also for one that could never match a name.

        A letter can stand wherever a wildcard can, so a pattern is valid if that makes a name.
        """
        parts = [part if part != _DEEP else _STAR for part in text.split("/")]
        has_form = len(text) <= MAX_NAME_LENGTH and not any(_DEEP in part for part in parts)
        if not (has_form and is_name("/".join(parts).replace(_STAR, "a"))):
            raise GrantError(
                f"{text[:_QUOTED]!r} is no pattern of repository names: a name in which `*` stands"
                " for a part of a component and `**` for one or more whole components"
            )
        return cls(text)

    def matches(self, name: str) -> bool:
        """Whether a repository name matches; a text that is no name never does.

        One step for each character of the name, whatever the pattern: the positions at which the
        pattern may stand are the bits of one number, all moved at once.
        """
        if not is_name(name):
            return False
        program = _compiled(self.text)
        standing = 1 | (1 & program.star) << 1
        for character in name:
            deep = standing & program.deep
            moved = (standing & program.literals.get(character, 0)) << 1 | deep | deep << 1
            if character != "/":
                moved |= standing & program.star
            standing = moved | (moved & program.star) << 1
        return bool(standing & program.end)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Grant:
    """A pattern of repositories and what may be done in them: `team/**:pull,push`."""

    repositories: Pattern
    rights: frozenset[Right]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PATTERN:RIGHT,RIGHT`; raises GrantError."""
        pattern, _, listed = text.rpartition(":")
        try:
            rights = frozenset(Right(right) for right in listed.split(","))
        except ValueError:
            raise GrantError(
                f"{text[:_QUOTED]!r} is no grant: write PATTERN:RIGHTS, where the rights are some"
                f" of {','.join(Right)}, or `{_ADMIN}`"
            ) from None
        return cls(Pattern.parse(pattern), rights)

    def allows(self, right: str, repository: str) -> bool:
        """Whether this grant allows a right on a repository."""
        return right in self.rights and self.repositories.matches(repository)

    def __str__(self) -> str:
        return f"{self.repositories}:{','.join(right for right in Right if right in self.rights)}"


@dataclass(frozen=True, slots=True)
class Grants:
    """All that one principal may do. `admin`: everything in every repository."""

    rows: tuple[Grant, ...] = ()
    admin: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read grants, `admin` among them; raises GrantError. Repeated ones count once."""
        distinct = dict.fromkeys(texts)
        if len(distinct) > MAX_GRANTS:
            raise GrantError(f"{len(distinct)} grants: at most {MAX_GRANTS} fit one API token")
        rows = dict.fromkeys(Grant.parse(text) for text in distinct if text != _ADMIN)
        return cls(tuple(rows), _ADMIN in distinct)

    def texts(self) -> list[str]:
        """Return the grants as `parse` reads them."""
        return [*([_ADMIN] if self.admin else []), *map(str, self.rows)]

    def __bool__(self) -> bool:
        return self.admin or bool(self.rows)


NOTHING = Grants()
"""The grants of a principal without any, such as the anonymous one."""


def allowed(grants: Grants, right: str, repository: str, *, public: bool = False) -> bool:
    """Whether `right` may be used on `repository`; anybody may pull from a `public` one."""
    if right not in _RIGHTS or not is_name(repository):
        return False
    if grants.admin or (public and right == Right.PULL):
        return True
    return any(grant.allows(right, repository) for grant in grants.rows)


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> _Program:
    literals: dict[str, int] = {}
    star = deep = 0
    bit = 1
    for token in pattern.replace(_DEEP, "\0"):
        match token:
            case "\0":
                deep |= bit
            case "*":
                star |= bit
            case _:
                literals[token] = literals.get(token, 0) | bit
        bit <<= 1
    return _Program(literals, star, deep, bit)
