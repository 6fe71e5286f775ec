"""`moorage local`, `gateway`, `proxy` and `edge`: what serves on this machine until it is stopped.

The proxy must load no AWS SDK. What an option holds goes to the field of the same name.
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
    "answer to this host name too, as of another machine; may be repeated; * is any",
)
_allow_host = option(*_ALLOW_HOST, multiple=True)
# `moorage local` starts its children with this; it is of no use to a person.
_stop = option(
    "--stop-with-input", None, "", hidden=True, expose_value=False, callback=_watch_input
)
_head_mode = option(
    "--head-mode",
    click.Choice(("body", "zero")),
    "the Content-Length that the gateway gives on HEAD: the body's, or zero",
    "body",
)


@click.command(cls=Command)
@option(
    "--gateway-port", PORT, "where the gateway listens; 0 takes a free port", "8000", "GATEWAY_PORT"
)
@option("--proxy-port", PORT, "where clients push; 0 takes a free port", "5000", "PROXY_PORT")
@option(
    "--edge-port",
    PORT,
    "where clients that PUT a blob whole push, as through CloudFront; 0 takes a free port;"
    " by default 5001, or a free port if the gateway's is one",
    variable="EDGE_PORT",
)
@option("--aws-endpoint", "URL", "keep the data in this S3 and DynamoDB, not in moto's memory")
@_head_mode
@option("--inline-limit", SIZE, "answer blobs up to this size directly, others by a redirect to S3")
@option(*_ALLOW_HOST, variable="ALLOW_HOST", multiple=True)
@option(
    "--cors-origins",
    ORIGINS,
    "let pages of these origins ask, such as http://localhost:3000, at gateway and edge; * is any",
    variable="CORS_ORIGINS",
)
@option("--ready-file", PATH, "write the addresses and process ids here, as JSON, when ready")
@option(
    "--auth/--no-auth",
    None,
    "control access, as a deployment does; $AUTH sets the default",
    default=lambda: os.environ.get("AUTH", "") not in _NO,
    show_default=False,
)
@option(
    "--admin-token-file",
    PATH,
    "write an admin's API token here, instead of showing it",
    variable="ADMIN_TOKEN_FILE",
)
@option(
    "--grace",
    COUNT,
    "how many seconds the garbage collector leaves alone what no manifest names; by default a day."
    " A push that takes longer is refused at its end",
    variable="GRACE",
)
@option(
    "--gc/--no-gc collect",
    None,
    "collect garbage, as a deployment does",
    default=lambda: True,
    show_default=False,
)
@click.pass_obj
def local(log_level: str, /, **options: Any) -> int:
    """Run a registry on this machine, with AWS emulated, until Ctrl-C."""
    from moorage.local import run

    return run.run(run.LocalOptions(**options, log_level=log_level))


@click.command(cls=Command)
@_host
@_allow_host
@option("--port", PORT, "0 takes a free port", "8000")
@_stop
@_head_mode
@option("--threads", COUNT, "how many functions run at once", "8")
@option(
    "--queue/--no-queue",
    None,
    "let further requests wait, or refuse them as a throttled Lambda",
    default=lambda: True,
    show_default=False,
)
@option(
    "--timeout timeout_seconds", SECONDS, "the integration's, and the function's deadline", "29"
)
@option(
    "--every every_seconds",
    SECONDS,
    "how often scheduled functions run; by default hourly, as a deployment's",
)
def gateway(head_mode: str, **options: Any) -> None:
    """Serve app.py as API Gateway and Lambda would. MOORAGE_* and AWS_* variables configure it."""
    import asyncio

    from moorage.gateway.response import HeadMode
    from moorage.gateway.server import GatewayOptions, serve

    asyncio.run(serve(GatewayOptions(**options, head_mode=HeadMode(head_mode))))


@click.command(cls=Command)
@option("--upstream", "URL", "the registry's address: https, or on this machine", required=True)
@_host
@_allow_host
@option("--port", PORT, "0 takes a free port", "5000")
@_stop
@option("--chunk-size", SIZE, "how much of a layer to send the registry in one request", "4194304")
@option("--memory memory_bytes", SIZE, "how much of layers to hold at once", "268435456")
@option("--patience patience_seconds", SECONDS, "how long to try while the registry fails", "90")
def proxy(**options: Any) -> None:
    """Let any client push layers of any size to a Moorage registry."""
    import asyncio

    from moorage.proxy.options import ProxyOptions
    from moorage.proxy.server import serve

    asyncio.run(serve(ProxyOptions(**options)))


@click.command(cls=Command)
@option("--upstream", "URL", "the local registry's gateway", required=True)
@_host
@_allow_host
@option("--port", PORT, "0 takes a free port", "5001")
@_stop
def edge(upstream: str, **options: Any) -> None:
    """Play CloudFront before a local registry, with the function that is deployed.

    MOORAGE_* and AWS_* variables are those of the gateway.
    """
    import asyncio

    from moorage.edge.run import serve
    from moorage.edge.server import EdgeOptions

    asyncio.run(serve(EdgeOptions(**options), upstream))
