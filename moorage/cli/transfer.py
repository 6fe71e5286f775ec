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
    "the most bytes of a layer that go to the registry in one request",
    "4194304",
)
_mount_from = option(
    "--mount-from",
    "NAME",
    "take layers that this repository of the registry has; may be repeated",
    multiple=True,
)
_repair = option("--repair", None, "send again what the registry lists and its storage has lost")


def _shared(act: Callable[..., None]) -> Callable[..., None]:
    """Add the options that all three have, and pass them to the command's function as one value."""

    @option("--parallel", COUNT, "how many layers move at once", "4")
    @option("--referrers", None, "signatures and others that refer to the image too")
    @option("--plain-http", None, "no TLS, though the registry is on another machine")
    @option("--patience patience_seconds", SECONDS, "how long to try while a registry fails", "90")
    @option("--quiet", None, "print the digest alone")
    @option("--json as_json", None, "print one JSON object a line for each event, `done` the last")
    @functools.wraps(act)
    def run(**options: Any) -> None:
        from moorage.transfer.run import TransferOptions

        shared = {name: options.pop(name) for name in _SHARED & options.keys()}
        act(TransferOptions(**shared), **options)

    return run


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="SOURCE", help="the image, as below")
@click.argument("destination", metavar="REGISTRY/NAME:TAG", help="where it goes")
@_chunk_size
@_mount_from
@_repair
@option("--compress", None, "compress the layers of a docker-archive: or docker-daemon: image")
@_shared
def push(options: "TransferOptions", **more: Any) -> None:
    """Push an image of this machine to a registry, and go on where an earlier push has stopped.

    SOURCE is oci:PATH[:TAG], a folder or a tar archive; oci-archive:PATH[:TAG];
    docker-archive:PATH[:NAME:TAG], of `docker save`, and `-` is standard input; or
    docker-daemon:NAME[:TAG], an image of docker's or podman's.
    """
    from moorage.transfer import run

    run.push(options=options, **more)


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="REGISTRY/NAME:TAG", help="the image")
@click.argument("destination", metavar="DEST", help="where it goes, as below")
@option("--platform wanted", "OS/ARCH", "of an image for several, this one alone", "")
@_shared
def pull(options: "TransferOptions", **more: Any) -> None:
    """Pull an image from a registry, and go on where an earlier pull has stopped.

    DEST is oci:PATH[:TAG], a folder; oci-archive:PATH[:TAG]; or docker-archive:PATH[:NAME:TAG],
    for `docker load`, which holds one platform.
    """
    from moorage.transfer import run

    run.pull(options=options, **more)


@click.command(cls=Command, exclusive=("quiet", "as_json"))
@click.argument("source", metavar="SRC", help="the image, as REGISTRY/NAME:TAG")
@click.argument("destination", metavar="DST", help="where it goes, likewise")
@_chunk_size
@_mount_from
@_repair
@_shared
def copy(options: "TransferOptions", **more: Any) -> None:
    """Copy an image from one registry to another, or within one, without a file here."""
    from moorage.transfer import run

    run.copy(options=options, **more)
