"""Patterns of repository names, as grants and rules have them.

This module must never build a regular expression from a pattern.

A pattern is a repository name in which `*` stands for any characters of one component, none
included, and `**`, always a component of its own, for one or more components:

    team/app      that repository
    team/*        team/app, not team and not team/app/base
    team/**       team/app and team/app/base, not team
    team/app-*    team/app-, with anything but a slash after it
    **            every repository
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple, Self

from chalicelib.dataclass import dataclass
from chalicelib.reference import MAX_NAME_LENGTH, is_name

_QUOTED = 300
_DEEP = "**"
_STAR = "*"


class PatternError(ValueError):
    """A text that is no pattern; the message says what is one."""


class _Program(NamedTuple):
    """A pattern's characters and wildcards by position, one bit for each.

    `literals`: where a character stands; `star`, `deep`: where the wildcards do; `end`: the bit
    behind the last.
    """

    literals: Mapping[str, int]
    star: int
    deep: int
    end: int


@dataclass(frozen=True)
class Pattern:
    """A pattern of repository names, as the module's head describes it."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern; raises PatternError, also for one that could never match a name.

        A letter can stand wherever a wildcard can, so a pattern is valid if that makes a name.
        """
        parts = [part if part != _DEEP else _STAR for part in text.split("/")]
        has_form = len(text) <= MAX_NAME_LENGTH and not any(_DEEP in part for part in parts)
        if not (has_form and is_name("/".join(parts).replace(_STAR, "a"))):
            raise PatternError(
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
