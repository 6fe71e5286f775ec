"""`moorage retention`: what runs somewhere. moorage.retention does it, with AWS credentials."""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs: all load the AWS SDK
# ruff: noqa: ANN401 - click hands options over by name

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from moorage.cli import output
from moorage.cli.command import Group
from moorage.cli.options import DURATION, PATH, URL, option

if TYPE_CHECKING:
    from pathlib import Path

    from moorage.retention.sources import InUseSources

_source = option(
    "--name source", "SOURCE", "what to call where it runs, such as prod", required=True
)


def _at_registry(act: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which registry, and pass its sources to the command's function."""

    @option("--table", "NAME", "the registry's table `registry`", None, "MOORAGE_REGISTRY_TABLE")
    @option("--stack", "NAME", "the data stack, which exports the table's name", "moorage-data")
    @option("--aws-endpoint endpoint", URL, "an emulator of AWS, as `moorage local` names it")
    @functools.wraps(act)
    def run(*, table: str | None, stack: str, endpoint: str | None, **options: Any) -> None:
        from moorage.retention.sources import InUseSources

        act(InUseSources(stack, table, endpoint), **options)

    return run


@click.group(cls=Group)
def retention() -> None:
    """Say what runs somewhere, so that it is kept."""


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
@_at_registry
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
        with click.open_file(str(file), encoding="utf-8") as opened:
            where = Where(origin, opened.read())
    told = sources.protect(source, where, ttl=ttl, registries=registries, may_be_empty=may_be_empty)
    for line in told:
        output.say(line)


@retention.command("unprotect")
@_source
@_at_registry
def _unprotect(sources: "InUseSources", source: str) -> None:
    """Remove a source: what it named is no longer kept."""
    output.say(sources.unprotect(source))


@retention.command("sources")
@option("--json as_json", None, "print JSON, for programs")
@_at_registry
def _sources(sources: "InUseSources", *, as_json: bool) -> None:
    """Show the sources: when each was read last, and until when that holds."""
    empty = "there are no sources: `moorage retention protect` makes one"
    output.show(sources.sources(), as_json=as_json, empty=empty)
