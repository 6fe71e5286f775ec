"""Checks that the optional dependencies of a command are installed.

pyproject.toml alone says what each extra holds. A package that needs one says so in its
`__init__.py`, before it imports anything: `require("local")`.
"""

import importlib.metadata
import re
from typing import Final

from moorage.common.errors import CommandError

_DISTRIBUTION: Final = "moorage"
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[\w.-]+)(?:\[(?P<extras>[^]]*)\])?[^;]*;.*\bextra == ['\"](?P<of>[\w-]+)['\"]"
)


def require(extra: str) -> None:
    """Return if all that an extra names is installed; else the CommandError says how to do it."""
    missing = _missing(extra)
    if missing:
        raise CommandError(
            f"{', '.join(missing)} not installed: pip install '{_DISTRIBUTION}[{extra}]'"
        )


def _missing(extra: str) -> list[str]:
    found: dict[str, None] = {}
    for line in importlib.metadata.requires(_DISTRIBUTION) or []:
        needed = _REQUIREMENT.fullmatch(line)
        if needed is None or needed["of"] != extra:
            continue
        if needed["name"] == _DISTRIBUTION:
            for other in needed["extras"].split(","):
                found.update(dict.fromkeys(_missing(other)))
        elif not _installed(needed["name"]):
            found[needed["name"]] = None
    return list(found)


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
