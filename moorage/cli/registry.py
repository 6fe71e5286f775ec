"""The options that say which registry an owner's command works on, by its stack, table or bucket.

Declared once, for `moorage token`, `rules`, `retention`, `usage` and `gc`. No logic may live here.
"""
# ruff: noqa: PLC0415 - what a command runs is imported when it runs: all load the AWS SDK
# ruff: noqa: ANN401 - click hands options over by name

import functools
from collections.abc import Callable
from typing import Any

from moorage.cli.options import URL, Decorator, option

endpoint = option(
    "--aws-endpoint endpoint",
    URL,
    "an emulator of AWS, as `moorage local` names it; it gets made-up credentials",
)


def _stack(names: str) -> Decorator:
    return option("--stack", "NAME", f"the data stack, which exports {names}", "moorage-data")


def at_data(act: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a registry's bucket and tables, or the stack that exports these."""
    for add in (
        endpoint,
        _stack("these names"),
        option("--uploads-table", "NAME", "its table `uploads`", None, "MOORAGE_UPLOADS_TABLE"),
        option(
            "--table registry_table", "NAME", "its table `registry`", None, "MOORAGE_REGISTRY_TABLE"
        ),
        option("--bucket", "NAME", "the registry's bucket", None, "MOORAGE_BUCKET"),
    ):
        act = add(act)
    return act


def _at_table(name: str, opened: Callable[..., object]) -> Decorator:
    """Add the options that name one table; pass what `opened` makes of them as first argument."""

    def decorate(act: Callable[..., None]) -> Callable[..., None]:
        @option(
            "--table",
            "NAME",
            f"the registry's table `{name}`",
            None,
            f"MOORAGE_{name.upper()}_TABLE",
        )
        @_stack("the table's name")
        @endpoint
        @functools.wraps(act)
        def run(*, table: str | None, stack: str, endpoint: str | None, **options: Any) -> None:
            act(opened(stack, table, endpoint), **options)

        return run

    return decorate


def _access(*place: Any) -> object:
    from moorage.access.commands import AccessTable

    return AccessTable(*place)


def _rules(*place: Any) -> object:
    from moorage.access.rules import RegistryRules

    return RegistryRules(*place)


def _sources(*place: Any) -> object:
    from moorage.retention.sources import InUseSources

    return InUseSources(*place)


at_access = _at_table("access", _access)
"""For commands about who may do what: the function gets an AccessTable."""

at_rules = _at_table("registry", _rules)
"""For commands about the registry's rules: the function gets RegistryRules."""

at_sources = _at_table("registry", _sources)
"""For commands about what runs: the function gets InUseSources."""
