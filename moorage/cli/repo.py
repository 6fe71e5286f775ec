"""`moorage repo`: shows what repositories hold and held, deletes images, restores them.

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
    from moorage.repo.asking import RepoOptions

_json = option("--json as_json", None, "print JSON")


def _shared(act: Callable[..., int | None]) -> Callable[..., int | None]:
    """Add the options that all share, and pass them to the command's function as one value."""

    @option("--plain-http", None, "use HTTP without TLS, also for a registry on another machine")
    @option("--patience patience_seconds", SECONDS, "how long to retry a failing registry", "90")
    @_json
    @functools.wraps(act)
    def run(*, plain_http: bool, patience_seconds: float, **options: Any) -> int | None:  # noqa: ANN401 - click hands options over by name
        from moorage.repo.asking import RepoOptions

        return act(RepoOptions(plain_http, patience_seconds), **options)

    return run


@click.group(cls=Group)
def repo() -> None:
    """Show repositories and their images, delete images, and restore deleted ones."""


@repo.command("list")
@click.argument(
    "place", metavar="REGISTRY[/PREFIX]", help="the registry, or the first characters of names"
)
@_shared
def _list(options: "RepoOptions", place: str, *, as_json: bool) -> None:
    """List the repositories that you may pull from, with their sizes and last pushes and pulls."""
    from moorage.repo import images

    listing = images.repositories(place, options)
    output.show(listing, as_json=as_json, empty="there is no repository that you may pull from")


@repo.command("show")
@click.argument("place", metavar="REGISTRY/NAME[:TAG]", help="the repository, or an image of it")
@_shared
def _show(options: "RepoOptions", place: str, *, as_json: bool) -> None:
    """Show a repository's tags, or all that is known of one image. This does not count as a pull.

    REGISTRY/NAME@DIGEST shows the image of that digest.
    """
    from moorage.repo import images

    output.show(images.show(place, options), as_json=as_json, empty="it has no tags")


@repo.command("delete")
@click.argument("place", metavar="REGISTRY/NAME[:TAG]", help="the repository, or one tag of it")
@click.argument(
    "references", metavar="[TAG|DIGEST]...", nargs=-1, help="the tags and digests to delete"
)
@option("--deep", None, "also delete an index's images and signatures that nothing else needs")
@option("--only-tags", None, "delete only the tags; the images stay, under their digests")
@option("--force", None, "also delete images that `moorage retention protect` has found running")
@option("--yes", None, "delete without asking")
@_shared
def _delete(options: "RepoOptions", *, as_json: bool, yes: bool, **wanted: Any) -> int:  # noqa: ANN401 - click hands options over by name
    """Delete tags and images, after showing what depends on them and how much space that frees.

    Deleting an image's last tag deletes the image; deleting a digest deletes all its tags. Deleted
    images stay in the trash for a while: `moorage repo restore` restores them.
    """
    from moorage.repo import deletion

    def agreed(plan: deletion.Plan) -> bool:
        for line in plan.lines():
            output.say(line)
        return yes or output.agreed("delete it?")

    deleted = deletion.delete(deletion.Wanted(**wanted), options, agreed)
    if deleted is None:
        output.say("nothing was deleted")
        return 1
    if as_json:
        output.show_json(deleted.values())
    else:
        for reference in deleted.gone:
            click.echo(reference)
    for reference, why in deleted.failed.items():
        output.say(f"{reference} is still there: {why}")
    return 1 if deleted.failed else 0


@repo.command("history")
@click.argument("place", metavar="REGISTRY/NAME[:TAG]", help="the repository, or a tag of it")
@_shared
def _history(options: "RepoOptions", place: str, *, as_json: bool) -> None:
    """Show how tags moved and what was deleted in the last year, the latest first.

    REGISTRY/NAME@DIGEST shows the deletions of one manifest.
    """
    from moorage.repo import undo

    listing = undo.history(place, options)
    output.show(
        listing, as_json=as_json, empty="nothing has moved or been deleted in the last year"
    )


@repo.command("restore")
@click.argument(
    "place", metavar="REGISTRY/NAME:TAG[@WHEN]", help="what to restore, in a form shown above"
)
@option("--force", None, "move tags that now name another image")
@_shared
def _restore(options: "RepoOptions", place: str, *, as_json: bool, force: bool) -> None:
    """Restore a deleted image, or set a tag back to the image that it named before.

    REGISTRY/NAME:TAG restores the tag as it was before its last change, and with @WHEN, such as
    @2026-11-30T15:00, as it was at that time. REGISTRY/NAME@DIGEST restores a manifest and the tags
    that were deleted with it. A tag that now names another image is moved only with --force.
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
