"""`moorage push`, `pull` and `copy`: images between this machine and registries, or two registries.

No secret may come by an option: logins are those that docker and podman keep.
"""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from moorage.cli.command import Command
from moorage.cli.options import COUNT, SECONDS, option

if TYPE_CHECKING:
    from moorage.transfer.run import TransferOptions

_SHARED = frozenset(
    {"quiet", "as_json", "plain_http", "referrers", "parallel", "patience_seconds"}
    | {"chunk_size", "repair"}
)
_chunk_size = option(
    "--chunk-size",
    COUNT,
    "the most bytes of a layer in one request to the registry",
    "4194304",
)
_mount_from = option(
    "--mount-from",
    "NAME",
    "mount layers from this repository of the registry; may be repeated",
    multiple=True,
)
_repair = option(
    "--repair", None, "send again the blobs that the registry lists but its storage has lost"
)


def _shared(act: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all three share, and pass them to the function as one value."""

    @option("--parallel", COUNT, "the most layers that move at once", "4")
    @option("--referrers", None, "also move what refers to the image, such as signatures")
    @option("--plain-http", None, "use HTTP without TLS, also for a registry on another machine")
    @option("--patience patience_seconds", SECONDS, "how long to retry a failing registry", "90")
    @option("--quiet", None, "print only the digest")
    @option("--json as_json", None, "print each event as a line of JSON; the last event is `done`")
    @functools.wraps(act)
    def run(**options: Any) -> None:
        from moorage.transfer.run import TransferOptions

        shared = {name: options.pop(name) for name in _SHARED & options.keys()}
        act(TransferOptions(**shared), **options)

    return run


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="SOURCE", help="the image to push, in a form shown above")
@click.argument("destination", metavar="REGISTRY/NAME:TAG", help="the destination")
@_chunk_size
@_mount_from
@_repair
@option("--compress", None, "compress the layers of a docker-archive: or docker-daemon: image")
@_shared
def push(options: "TransferOptions", **more: Any) -> None:
    """Push an image from this machine to a registry; an interrupted push is resumed.

    \b
    SOURCE is one of
      oci:PATH[:TAG]                  an OCI layout: a folder or a tar archive
      oci-archive:PATH[:TAG]          a tar archive of a layout
      docker-archive:PATH[:NAME:TAG]  the output of `docker save`
      docker-archive:-                the same, from standard input
      docker-daemon:NAME[:TAG]        an image in docker or podman
    """  # noqa: D301 - by this character click knows lines that stay as they are
    from moorage.transfer import run

    run.push(options=options, **more)


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="REGISTRY/NAME:TAG", help="the image")
@click.argument("destination", metavar="DEST", help="the destination, in a form shown above")
@option("--platform wanted", "OS/ARCH", "pull only this platform of a multi-platform image", "")
@_shared
def pull(options: "TransferOptions", **more: Any) -> None:
    """Pull an image from a registry to a file or folder; an interrupted pull is resumed.

    \b
    DEST is one of
      oci:PATH[:TAG]                  an OCI layout in a folder
      oci-archive:PATH[:TAG]          a tar archive of a layout
      docker-archive:PATH[:NAME:TAG]  for `docker load`, of one platform
    """  # noqa: D301 - likewise
    from moorage.transfer import run

    run.pull(options=options, **more)


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="SRC", help="the image, as REGISTRY/NAME:TAG")
@click.argument("destination", metavar="DST", help="the destination, as REGISTRY/NAME:TAG")
@_chunk_size
@_mount_from
@_repair
@_shared
def copy(options: "TransferOptions", **more: Any) -> None:
    """Copy an image between registries, or within one, without storing it on this machine."""
    from moorage.transfer import run

    run.copy(options=options, **more)
