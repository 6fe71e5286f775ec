"""`moorage local`, `gateway`, `proxy` and `edge`: servers on this machine.

The proxy must load no AWS SDK. Each option is passed on as the field of the same name.
"""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

import os
from typing import Any

import click

from moorage.cli.command import Command
from moorage.cli.options import COUNT, HOST, ORIGINS, PATH, PORT, SECONDS, SIZE, option

# Any other word turns access control on: it must not be off by mistake.
_NO = frozenset({"", "0", "no", "off", "false"})


def _watch_input(_ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - as click calls it
    if value:
        from moorage.local.children import exit_with_parent

        exit_with_parent()


_host = option("--host", "ADDRESS", "the address to listen on", "127.0.0.1")
_ALLOW_HOST = (
    "--allow-host allow_hosts",
    HOST,
    "also answer requests for this host name; may be repeated; * allows any name",
)
_allow_host = option(*_ALLOW_HOST, multiple=True)
# `moorage local` starts its children with this; it is of no use to a person.
_stop = option(
    "--stop-with-input", None, "", hidden=True, expose_value=False, callback=_watch_input
)
_head_mode = option(
    "--head-mode",
    click.Choice(("body", "zero")),
    "the Content-Length of a HEAD response: the length of the body, or zero",
    "body",
)


@click.command(cls=Command)
@option(
    "--gateway-port", PORT, "the port of the gateway; 0 takes a free one", "8000", "GATEWAY_PORT"
)
@option(
    "--proxy-port", PORT, "the port of the push proxy; 0 takes a free one", "5000", "PROXY_PORT"
)
@option(
    "--edge-port",
    PORT,
    "the port of the edge, for clients that send a blob in one PUT; 0 takes a free one;"
    " default: 5001, or a free one if --gateway-port is 0",
    variable="EDGE_PORT",
)
@option(
    "--aws-endpoint",
    "URL",
    "store the data in the S3 and DynamoDB at this address, instead of in memory",
)
@_head_mode
@option(
    "--inline-limit",
    SIZE,
    "send blobs up to this size directly, and redirect to S3 for larger ones",
)
@option(*_ALLOW_HOST, variable="ALLOW_HOST", multiple=True)
@option(
    "--cors-origins",
    ORIGINS,
    "allow web pages of these origins (CORS), such as http://localhost:3000; * allows any",
    variable="CORS_ORIGINS",
)
@option(
    "--ready-file", PATH, "when ready, write the addresses and process ids to this file, as JSON"
)
@option(
    "--auth/--no-auth",
    None,
    "require logins, as a deployment does; $AUTH sets the default",
    default=lambda: os.environ.get("AUTH", "") not in _NO,
    show_default=False,
)
@option(
    "--admin-token-file",
    PATH,
    "write the admin's API token to this file, instead of printing it",
    variable="ADMIN_TOKEN_FILE",
)
@option(
    "--grace",
    COUNT,
    "seconds that the garbage collector keeps blobs that no manifest names; default: a day."
    " A push that takes longer fails at its end",
    variable="GRACE",
)
@option(
    "--gc/--no-gc collect",
    None,
    "run the garbage collector, as a deployment does",
    default=lambda: True,
    show_default=False,
)
@click.pass_obj
def local(log_level: str, /, **options: Any) -> int:
    """Run a registry on this machine, over an emulation of AWS, until Ctrl-C."""
    from moorage.local import run

    return run.run(run.LocalOptions(**options, log_level=log_level))


@click.command(cls=Command)
@_host
@_allow_host
@option("--port", PORT, "the port to listen on; 0 takes a free one", "8000")
@_stop
@_head_mode
@option("--threads", COUNT, "the most functions that run at once", "8")
@option(
    "--queue/--no-queue",
    None,
    "whether further requests wait, or are refused, as by Lambda",
    default=lambda: True,
    show_default=False,
)
@option(
    "--timeout timeout_seconds",
    SECONDS,
    "the time limit of API Gateway's integration and of the function",
    "29",
)
@option(
    "--every every_seconds",
    SECONDS,
    "the interval of scheduled functions; default: an hour, as in a deployment",
)
def gateway(head_mode: str, **options: Any) -> None:
    """Serve app.py as API Gateway and Lambda do; MOORAGE_* and AWS_* variables configure it."""
    import asyncio

    from moorage.gateway.response import HeadMode
    from moorage.gateway.server import GatewayOptions, serve

    asyncio.run(serve(GatewayOptions(**options, head_mode=HeadMode(head_mode))))


@click.command(cls=Command)
@option("--upstream", "URL", "the registry's URL: https, or http on this machine", required=True)
@_host
@_allow_host
@option("--port", PORT, "the port to listen on; 0 takes a free one", "5000")
@_stop
@option("--chunk-size", SIZE, "the most bytes of a layer in one request to the registry", "4194304")
@option("--memory memory_bytes", SIZE, "the most bytes of layers in memory at once", "268435456")
@option("--patience patience_seconds", SECONDS, "how long to retry a failing registry", "90")
@option(
    "--pull-streams",
    COUNT,
    "how many connections to S3 bring one large layer; with 1 clients fetch it themselves",
    "4",
)
def proxy(**options: Any) -> None:
    """Run a proxy through which any client can push layers of any size to a Moorage registry."""
    import asyncio

    from moorage.proxy.options import ProxyOptions
    from moorage.proxy.server import serve

    asyncio.run(serve(ProxyOptions(**options)))


@click.command(cls=Command)
@option("--upstream", "URL", "the local registry's gateway", required=True)
@_host
@_allow_host
@option("--port", PORT, "the port to listen on; 0 takes a free one", "5001")
@_stop
def edge(upstream: str, **options: Any) -> None:
    """Imitate CloudFront in front of a local registry, with the function that a deployment runs.

    It needs the gateway's MOORAGE_* and AWS_* variables.
    """
    import asyncio

    from moorage.edge.run import serve
    from moorage.edge.server import EdgeOptions

    asyncio.run(serve(EdgeOptions(**options), upstream))
