"""`moorage retention`: what is kept, what goes, and what runs. moorage.retention does it."""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs: all load the AWS SDK

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from moorage.cli import output
from moorage.cli.command import Group
from moorage.cli.options import DURATION, PATH, option
from moorage.cli.registry import at_rules, at_sources
from moorage.common.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from moorage.access.rules import RegistryRules
    from moorage.retention.sources import InUseSources

_source = option(
    "--name source", "SOURCE", "what to call where it runs, such as prod", required=True
)


@click.group(cls=Group)
def retention() -> None:
    """Say which images are kept and which go, and what runs somewhere."""


@retention.command("get")
@at_rules
def _get(rules: "RegistryRules") -> None:
    """Print the rules of retention, as `moorage retention set` takes them."""
    section = rules.section("retention")
    if section is None:
        output.say(
            "there are no rules of retention: nothing goes. `moorage retention set` sets some"
        )
    else:
        click.echo(section)


@retention.command("set")
@click.argument("file", type=PATH, required=False, help="the rules, as JSON; - is standard input")
@option("--none", None, "take all rules of retention away: nothing goes any more")
@option("--check", None, "say what would be set, and set nothing")
@at_rules
def _set(rules: "RegistryRules", file: "Path | None", *, none: bool, check: bool) -> None:
    """Put rules of retention in force. The registry's other rules stay.

    The next run goes by them, within the hour: look at `moorage retention preview` before.
    """
    if none == (file is not None):
        raise UsageError("give a FILE with rules, or --none")
    text = None if file is None else _read(file)
    for line in rules.replace_section("retention", text, check=check):
        output.say(line)


@retention.command("preview")
@click.argument("repository", required=False, help="this one alone")
@option("--rules file", PATH, "rules that are not set, as JSON; - is standard input")
@option("--all every", None, "show what stays, too, and why")
@option("--json as_json", None, "print JSON, for programs: each digest, with its reason")
@option("--bucket", "NAME", "the registry's bucket", None, "MOORAGE_BUCKET")
@at_rules
def _preview(  # noqa: PLR0913 - what is looked at, and how it is shown
    rules: "RegistryRules",
    repository: str | None,
    file: "Path | None",
    bucket: str | None,
    *,
    every: bool,
    as_json: bool,
) -> None:
    """Show what the rules would remove now, and why: just that goes in the next run.

    But for what is used until then. Nothing is changed.
    """
    from moorage.retention.preview import RetentionRules

    draft = None if file is None else _read(file)
    with output.progress("judging"):
        forecast = RetentionRules(rules, bucket).forecast(repository, draft, every=every)
    output.show(forecast.listing, as_json=as_json, empty="nothing goes")
    for line in forecast.said:
        output.say(line)


def _read(file: "Path") -> str:
    with click.open_file(str(file), encoding="utf-8") as opened:
        text: str = opened.read()
    return text


@retention.command("protect")
@click.argument("file", type=PATH, default="-", help="what k8s and file read; - is standard input")
@option("--from origin", click.Choice(("ecs", "k8s", "file")), "what is read", required=True)
@_source
@option("--ttl", DURATION, "until when it has to be read again", "48h")
@option("--registry registries", "HOST", "the registry, as images name it", multiple=True)
@option("--empty may_be_empty", None, "though nothing of this registry may run there")
@option("--cluster clusters", "NAME", "of ECS; by default all", multiple=True)
@option("--cluster-region region", "REGION", "where the clusters of ECS are, if elsewhere")
@option("--cluster-profile profile", "PROFILE", "of AWS's settings, to read them by")
@at_sources
def _protect(  # noqa: PLR0913 - what a source is
    sources: "InUseSources",
    file: "Path",
    origin: str,
    source: str,
    *,
    ttl: float,
    registries: Sequence[str],
    may_be_empty: bool,
    clusters: Sequence[str],
    region: str | None,
    profile: str | None,
) -> None:
    """Keep what runs: no retention deletes it, and nobody else does but by force.

    `ecs` are the tasks and services of Amazon ECS. `k8s` is what `kubectl get pods -A -o json`
    prints. `file` is a list, with an image a line: REGISTRY/NAME@DIGEST or NAME:TAG.

    Each time it takes the place of what the source named before. Run it more often than --ttl says:
    while a source is overdue, retention deletes nothing of its repositories.
    """
    from moorage.retention.sources import Where

    if origin == "ecs":
        where = Where(origin, clusters=clusters, region=region, profile=profile)
    else:
        where = Where(origin, _read(file))
    told = sources.protect(source, where, ttl=ttl, registries=registries, may_be_empty=may_be_empty)
    for line in told:
        output.say(line)


@retention.command("unprotect")
@_source
@at_sources
def _unprotect(sources: "InUseSources", source: str) -> None:
    """Remove a source: what it named is no longer kept."""
    output.say(sources.unprotect(source))


@retention.command("sources")
@option("--json as_json", None, "print JSON, for programs")
@at_sources
def _sources(sources: "InUseSources", *, as_json: bool) -> None:
    """Show the sources: when each was read last, and until when that holds."""
    empty = "there are no sources: `moorage retention protect` makes one"
    output.show(sources.sources(), as_json=as_json, empty=empty)
