"""Grants: which repositories, by a pattern of names, and what may be done there.

This module must never allow what no grant names: an unknown right, a name outside the grammar and
an empty list of grants allow nothing.
"""

import enum
from collections.abc import Iterable
from typing import Self

from chalicelib.dataclass import dataclass
from chalicelib.pattern import Pattern, PatternError
from chalicelib.reference import is_name

MAX_GRANTS = 64
"""Most grants of one credential: they are in its item, which is read whole."""

_ADMIN = "admin"
_QUOTED = 300


class GrantError(ValueError):
    """A text that is no grant; the message says what is one."""


class Right(enum.StrEnum):
    """What can be done in a repository. None implies another: pushing is not reading."""

    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"


_RIGHTS = frozenset(map(str, Right))


@dataclass(frozen=True)
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
        try:
            return cls(Pattern.parse(pattern), rights)
        except PatternError as error:
            raise GrantError(str(error)) from None

    def allows(self, right: str, repository: str) -> bool:
        """Whether this grant allows a right on a repository."""
        return right in self.rights and self.repositories.matches(repository)

    def __str__(self) -> str:
        return f"{self.repositories}:{','.join(right for right in Right if right in self.rights)}"


@dataclass(frozen=True)
class Grants:
    """All rights of one principal. `admin`: every right in every repository."""

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
