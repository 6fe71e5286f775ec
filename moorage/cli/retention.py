"""`moorage retention`: its options. moorage.retention and moorage.access.rules do the work."""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs: all load the AWS SDK

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from moorage.cli import output
from moorage.cli.command import Group
from moorage.cli.options import DURATION, PATH, option, read_text
from moorage.cli.registry import at_rules, at_sources
from moorage.common.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from moorage.access.rules import RegistryRules
    from moorage.retention.sources import InUseSources

_source = option("--name source", "SOURCE", "the name of the source, such as prod", required=True)


@click.group(cls=Group)
def retention() -> None:
    """Set the rules by which old images are removed, and protect images that are running."""


@retention.command("get")
@at_rules
def _get(rules: "RegistryRules") -> None:
    """Print the retention rules, in the form that `moorage retention set` reads."""
    section = rules.section("retention")
    if section is None:
        output.say(
            "there are no rules of retention: nothing goes. `moorage retention set` sets some"
        )
    else:
        click.echo(section)


@retention.command("set")
@click.argument("file", type=PATH, required=False, help="the rules, as JSON; - is standard input")
@option("--none", None, "remove all retention rules: no image is removed any more")
@option("--check", None, "check the rules, and set nothing")
@at_rules
def _set(rules: "RegistryRules", file: "Path | None", *, none: bool, check: bool) -> None:
    """Set the retention rules; the registry's other rules stay as they are.

    The next run, within the hour, applies them: see `moorage retention preview` first.
    """
    if none == (file is not None):
        raise UsageError("give a FILE with rules, or --none")
    text = None if file is None else read_text(file)
    for line in rules.replace_section("retention", text, check=check):
        output.say(line)


@retention.command("preview")
@click.argument("repository", required=False, help="only this repository")
@option("--rules file", PATH, "preview the rules in this file instead; - is standard input")
@option("--all every", None, "also show the images that stay, and why")
@option("--json as_json", None, "print JSON: each digest, with the reason")
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
    """Show which images the rules would remove now, and why; nothing is changed.

    The next run removes these images, except those that are pushed or pulled until then.
    """
    from moorage.retention.preview import RetentionRules

    draft = None if file is None else read_text(file)
    with output.progress("judging"):
        forecast = RetentionRules(rules, bucket).forecast(repository, draft, every=every)
    output.show(forecast.listing, as_json=as_json, empty="nothing goes")
    for line in forecast.said:
        output.say(line)


@retention.command("protect")
@click.argument(
    "file",
    type=PATH,
    default="-",
    help="the file to read, for --from k8s and file; - is standard input",
)
@option("--from origin", click.Choice(("ecs", "k8s", "file")), "the kind of source", required=True)
@_source
@option("--ttl", DURATION, "how long the source is valid; run the command again before that", "48h")
@option(
    "--registry registries",
    "HOST",
    "the registry's host in image names; may be repeated",
    multiple=True,
)
@option("--empty may_be_empty", None, "accept a source that names no image of this registry")
@option("--cluster clusters", "NAME", "read only this ECS cluster; may be repeated", multiple=True)
@option("--cluster-region region", "REGION", "the AWS region of the ECS clusters, if another one")
@option("--cluster-profile profile", "PROFILE", "the AWS profile for reading the ECS clusters")
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
    """Protect images that are running: retention keeps them, and deleting them needs force.

    `ecs` reads the tasks and services of Amazon ECS. `k8s` reads the output of
    `kubectl get pods -A -o json`. `file` reads one image a line: REGISTRY/NAME@DIGEST or NAME:TAG.

    Each run replaces what the source named before. Run the command again before --ttl is over:
    while a source is overdue, retention deletes nothing in its repositories.
    """
    from moorage.retention.sources import Where

    if origin == "ecs":
        where = Where(origin, clusters=clusters, region=region, profile=profile)
    else:
        where = Where(origin, read_text(file))
    messages = sources.protect(
        source, where, ttl=ttl, registries=registries, may_be_empty=may_be_empty
    )
    for line in messages:
        output.say(line)


@retention.command("unprotect")
@_source
@at_sources
def _unprotect(sources: "InUseSources", source: str) -> None:
    """Remove a source: the images that it named are no longer protected."""
    output.say(sources.unprotect(source))


@retention.command("sources")
@option("--json as_json", None, "print JSON")
@at_sources
def _sources(sources: "InUseSources", *, as_json: bool) -> None:
    """List the sources, with when each was last read and until when it is valid."""
    empty = "there are no sources: `moorage retention protect` makes one"
    output.show(sources.sources(), as_json=as_json, empty=empty)
