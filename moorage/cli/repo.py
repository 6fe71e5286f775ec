"""`moorage repo`: what a repository's tags named before, and bringing back what was deleted.

No secret may come by an option: logins are those that docker and podman keep.
"""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from moorage.cli import output
from moorage.cli.command import Group
from moorage.cli.options import SECONDS, option

if TYPE_CHECKING:
    from moorage.repo.undo import RepoOptions

_json = option("--json as_json", None, "print JSON")


def _shared(act: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all have, and pass them to the command's function as one value."""

    @option("--plain-http", None, "no TLS, though the registry is on another machine")
    @option("--patience patience_seconds", SECONDS, "how long to try while a registry fails", "90")
    @_json
    @functools.wraps(act)
    def run(*, plain_http: bool, patience_seconds: float, **options: Any) -> None:  # noqa: ANN401 - click hands options over by name
        from moorage.repo.undo import RepoOptions

        act(RepoOptions(plain_http, patience_seconds), **options)

    return run


@click.group(cls=Group)
def repo() -> None:
    """Show what happened to a repository's images, and bring them back."""


@repo.command("history")
@click.argument("place", metavar="REGISTRY/NAME[:TAG]", help="the repository, or a tag of it")
@_shared
def _history(options: "RepoOptions", place: str, *, as_json: bool) -> None:
    """Show what tags named before and what was deleted in the last year, the latest first.

    REGISTRY/NAME@DIGEST shows the deletions of one manifest.
    """
    from moorage.repo import undo

    listing = undo.history(place, options)
    output.show(
        listing, as_json=as_json, empty="nothing has moved or been deleted in the last year"
    )


@repo.command("restore")
@click.argument("place", metavar="REGISTRY/NAME:TAG[@WHEN]", help="what to bring back, as below")
@option("--force", None, "move tags that name another image by now")
@_shared
def _restore(options: "RepoOptions", place: str, *, as_json: bool, force: bool) -> None:
    """Bring back an image that was deleted, or let a tag name what it named before.

    REGISTRY/NAME:TAG is the tag as it was before its last change; with @WHEN, such as
    @2026-11-30T15:00, as it was then. REGISTRY/NAME@DIGEST is a manifest, with the tags that were
    deleted with it. A tag that names another image by now needs --force.
    """
    from moorage.repo import undo

    restored = undo.restore(place, options, force=force)
    if as_json:
        output.show_json(asdict(restored))
        return
    click.echo(restored.digest)
    tags = ", ".join(restored.tags)
    output.say(f"{restored.image} is back" + (f", under {tags}" if tags else ", without a tag"))
    for tag, digest in restored.moved_on.items():
        output.say(f"tag {tag} names {digest} by now and stays there: --force moves it")
