"""The `moorage` command: its words and what each calls. No logic may live here.

Each command imports what it runs when it runs, so that `moorage proxy` loads no AWS SDK.
"""

import argparse
import asyncio
import importlib.metadata
import logging
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from moorage.cli import access as access_arguments
from moorage.cli import deploy as deploy_arguments
from moorage.cli import doctor as doctor_arguments
from moorage.cli import login as login_arguments

_HEAD_MODES = ("body", "zero")
_LOG_LEVELS = ("debug", "info", "warning", "error")
_HIGHEST_PORT = 65_535
# Any other word turns a switch on: what turns access control on must not be mistaken for off.
_NO = frozenset({"", "0", "no", "off", "false"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 asked for wrongly."""
    options = _parser().parse_args(argv)
    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if getattr(options, "stop_with_input", False):
        from moorage.local.children import exit_with_parent  # noqa: PLC0415 - lazy, as said above

        exit_with_parent()
    try:
        status: int = options.run(options)
    except OSError as error:
        sys.stderr.write(f"moorage {options.command}: {error}\n")
        return 1
    return status


def _local(options: argparse.Namespace) -> int:
    from moorage.local import run as local  # noqa: PLC0415 - lazy, as said above

    return local.run(
        local.LocalOptions(
            gateway_port=options.gateway_port,
            proxy_port=options.proxy_port,
            aws_endpoint=options.aws_endpoint,
            head_mode=options.head_mode,
            inline_limit=options.inline_limit,
            ready_file=options.ready_file,
            log_level=options.log_level,
            auth=options.auth,
            admin_token_file=options.admin_token_file,
        )
    )


def _gateway(options: argparse.Namespace) -> int:
    from moorage.gateway.server import GatewayOptions, HeadMode, serve  # noqa: PLC0415 - lazy, as above

    asyncio.run(
        serve(
            GatewayOptions(
                host=options.host,
                port=options.port,
                head_mode=HeadMode(options.head_mode),
                threads=options.threads,
                timeout_seconds=options.timeout,
            )
        )
    )
    return 0


def _proxy(options: argparse.Namespace) -> int:
    from moorage.proxy.server import ProxyOptions, serve  # noqa: PLC0415 - lazy, as said above

    asyncio.run(
        serve(
            ProxyOptions(
                upstream=options.upstream,
                host=options.host,
                port=options.port,
                chunk_size=options.chunk_size,
                patience_seconds=options.patience,
            )
        )
    )
    return 0


def _access(options: argparse.Namespace) -> int:
    from moorage.access import commands as access_cli  # noqa: PLC0415 - lazy, as said above

    return access_cli.run(options)


def _login(options: argparse.Namespace) -> int:
    from moorage.login import run as login  # noqa: PLC0415 - lazy, as said above

    return login.run(options)


def _doctor(options: argparse.Namespace) -> int:
    from moorage.doctor import run as doctor  # noqa: PLC0415 - lazy, as said above

    return doctor.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="moorage",
        description="Moorage, a private container registry with no server: the tools that run on "
        "your machine.",
    )
    version = importlib.metadata.version("moorage")
    parser.add_argument("--version", action="version", version=f"moorage {version}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_local(commands)
    _add_gateway(commands)
    _add_proxy(commands)
    access_arguments.add_access(commands, _command, run=_access)
    login_arguments.add_login(commands, _command, run=_login)
    doctor_arguments.add_doctor(commands, _command, run=_doctor)
    deploy_arguments.add_deploy(commands, _command)
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--log-level", choices=_LOG_LEVELS, default="warning", help="what to log")
    return parser


def _add_local(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands, "local", "run a registry on this machine, with AWS emulated, until Ctrl-C"
    )
    parser.add_argument(
        "--gateway-port",
        type=_port,
        metavar="PORT",
        default=os.environ.get("GATEWAY_PORT") or "8000",
        help="where the gateway listens; 0 takes a free port; $GATEWAY_PORT sets the default",
    )
    parser.add_argument(
        "--proxy-port",
        type=_port,
        metavar="PORT",
        default=os.environ.get("PROXY_PORT") or "5000",
        help="where clients push; 0 takes a free port; $PROXY_PORT sets the default",
    )
    parser.add_argument(
        "--aws-endpoint",
        metavar="URL",
        help="keep the data in this S3 and DynamoDB, instead of in moto's memory",
    )
    _add_head_mode(parser)
    parser.add_argument(
        "--inline-limit",
        type=_size,
        metavar="BYTES",
        help="answer blobs up to this size directly, larger ones by a redirect to S3",
    )
    parser.add_argument(
        "--ready-file",
        type=Path,
        metavar="PATH",
        help="write the addresses and process ids here, as JSON, when ready",
    )
    _add_auth(parser)
    parser.set_defaults(run=_local)


def _add_auth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--auth",
        action=argparse.BooleanOptionalAction,
        default=os.environ.get("AUTH", "") not in _NO,
        help="control access, as a deployment does; $AUTH sets the default",
    )
    token_file = os.environ.get("ADMIN_TOKEN_FILE")
    parser.add_argument(
        "--admin-token-file",
        type=Path,
        metavar="PATH",
        default=token_file or None,
        help="write an admin's access token here, instead of showing it; $ADMIN_TOKEN_FILE sets"
        " the default",
    )


def _add_gateway(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands,
        "gateway",
        "serve app.py as API Gateway and Lambda would; MOORAGE_* and AWS_* variables say on what",
    )
    _add_listen(parser, 8000)
    _add_head_mode(parser)
    parser.add_argument(
        "--threads", type=_count, metavar="N", default=8, help="how many functions run at once"
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        default=29.0,
        help="the integration's timeout, and the function's deadline",
    )
    parser.set_defaults(run=_gateway)


def _add_proxy(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = _command(
        commands, "proxy", "let any client push layers of any size to a Moorage registry"
    )
    parser.add_argument("--upstream", required=True, metavar="URL", help="the registry's address")
    _add_listen(parser, 5000)
    parser.add_argument(
        "--chunk-size",
        type=_size,
        metavar="BYTES",
        default=4 * 1024 * 1024,
        help="how much of a layer to send in one request",
    )
    parser.add_argument(
        "--patience",
        type=_seconds,
        metavar="SECONDS",
        default=90.0,
        help="how long to keep trying when the registry fails",
    )
    parser.set_defaults(run=_proxy)


def _add_listen(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument(
        "--port", type=_port, metavar="PORT", default=port, help="0 takes a free port"
    )
    # `moorage local` starts its children with this; it is of no use to a person.
    parser.add_argument("--stop-with-input", action="store_true", help=argparse.SUPPRESS)


def _add_head_mode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--head-mode",
        choices=_HEAD_MODES,
        default="body",
        help="the Content-Length that the gateway gives on HEAD: the body's, or zero",
    )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {_HIGHEST_PORT}")
    return int(text)


def _size(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds
