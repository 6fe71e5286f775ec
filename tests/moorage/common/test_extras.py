"""A command whose extra is missing says what to install, and that pyproject.toml alone decides."""

from __future__ import annotations

import importlib.metadata

import pytest

from moorage.common.errors import CommandError
from moorage.common.extras import require

REQUIREMENTS = [
    "aiohttp<4,>=3.14",
    'there<2,>=1.43; extra == "aws"',
    'Not.There[crypto]==2.15.1; extra == "aws"',
    'moorage[aws]; extra == "deploy"',
    "also-not-there==1; sys_platform == 'linux' and extra == 'deploy'",
    'moorage[aws,deploy]; extra == "dev"',
    'there; extra == "local"',
]


def distribution(name: str) -> str:
    """Find the one distribution that is installed."""
    if name != "there":
        raise importlib.metadata.PackageNotFoundError(name)
    return name


@pytest.mark.parametrize(
    ("extra", "missing"),
    [
        ("aws", "Not.There"),
        ("deploy", "Not.There, also-not-there"),
        ("dev", "Not.There, also-not-there"),
        ("local", None),
    ],
)
def test_a_missing_extra_is_an_error_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, extra: str, missing: str | None
) -> None:
    """An extra may be made of others; what is installed is not named."""
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: REQUIREMENTS)
    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    if missing is None:
        require(extra)
        return
    with pytest.raises(CommandError) as raised:
        require(extra)
    assert str(raised.value) == f"{missing} not installed: pip install 'moorage[{extra}]'"
