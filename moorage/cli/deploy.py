"""The words of `moorage deploy` and `moorage destroy`, and what each calls.

`make deploy` gives all of them but the stage by variables. No logic may live here; and no word may
be taken for another, said or in a variable: argparse holds a default to `type`, not to `choices`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from chalicelib.errors import RegistryError

Command = Callable[..., argparse.ArgumentParser]

_DELETE = "delete"
_YES = frozenset({"1", "yes", "on", "true"})
_NO = frozenset({"0", "no", "off", "false", "none"})
_UNSAID = "; unsaid, it stays as it is"
_TAKEN_AWAY = f"{_UNSAID}, and `none` takes it away"
# Option, variable, the template's parameter, what to show for its value, help.
_PARAMETERS = (
    ("domain", "DOMAIN", "DomainName", "HOST", f"the registry's own host name{_TAKEN_AWAY}"),
    (
        "certificate",
        "CERTIFICATE",
        "CertificateArn",
        "ARN",
        f"the certificate of that name{_UNSAID}",
    ),
    (
        "hosted-zone",
        "HOSTED_ZONE",
        "HostedZoneId",
        "ID",
        f"the Route 53 zone that names it{_TAKEN_AWAY}",
    ),
    ("log-days", "LOG_DAYS", "LogRetentionDays", "DAYS", f"how long logs are kept{_UNSAID}"),
    (
        "function-log-level",
        "FUNCTION_LOG_LEVEL",
        "LogLevel",
        "DEBUG|INFO|WARNING",
        f"what functions log{_UNSAID}",
    ),
    ("metrics", "METRICS", "Metrics", "0|1", f"metrics of our own, which cost{_UNSAID}"),
    ("tracing", "TRACING", "Tracing", "0|1", f"traces by X-Ray, which cost{_UNSAID}"),
    ("api-memory", "API_MEMORY", "ApiMemory", "MB", f"memory of the API{_UNSAID}"),
    (
        "authorizer-memory",
        "AUTHORIZER_MEMORY",
        "AuthorizerMemory",
        "MB",
        f"memory of the authorizer{_UNSAID}",
    ),
    (
        "worker-memory",
        "WORKER_MEMORY",
        "WorkerMemory",
        "MB",
        f"memory of commit and sweep{_UNSAID}",
    ),
    (
        "head-strategy",
        "HEAD_STRATEGY",
        "HeadStrategy",
        "redirect|body",
        f"how a HEAD tells its length: `moorage doctor` says which{_UNSAID}",
    ),
    (
        "inline-limit",
        "INLINE_LIMIT",
        "InlineLimit",
        "BYTES",
        f"the largest blob that the API answers itself{_UNSAID}",
    ),
    (
        "manifest-limit",
        "MANIFEST_LIMIT",
        "ManifestLimit",
        "BYTES",
        f"the largest manifest{_UNSAID}",
    ),
    (
        "sparse-index",
        "SPARSE_INDEX",
        "SparseIndex",
        "0|1",
        f"1 takes an index before the manifests that it names{_UNSAID}",
    ),
)
# Likewise of the stack of alarms.
_WATCHING = (
    ("alarm-email", "ALARM_EMAIL", "AlarmEmail", "ADDRESS", f"who hears of alarms{_TAKEN_AWAY}"),
    ("dashboard", "DASHBOARD", "Dashboard", "on|off", f"whether there is a dashboard{_UNSAID}"),
    ("alarms", "ALARMS", "Alarms", "on|off", f"whether there are alarms{_UNSAID}"),
)


def add_deploy(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", command: Command
) -> None:
    """Add `deploy` and `destroy`; `command` makes a subcommand's parser."""
    deploy = command(commands, "deploy", "deploy a registry to your AWS account, or update it")
    _add_stage(deploy)
    deploy.add_argument(
        "--package", type=Path, required=True, metavar="FOLDER", help="what `make package` wrote"
    )
    for option, variable, _, metavar, text in (*_PARAMETERS, *_WATCHING):
        _add(deploy, option, variable, metavar, text)
    _add(deploy, "bucket", "DEPLOY_BUCKET", "NAME", f"a bucket of yours for packages{_TAKEN_AWAY}")
    _add(deploy, "admin-token-file", "ADMIN_TOKEN_FILE", "PATH", "for the first access token")
    deploy.add_argument(
        "--observability",
        nargs="?",
        const=True,
        type=_asked,
        metavar="0|1",
        default=os.environ.get("OBSERVABILITY") or None,
        help=f"a dashboard and alarms, which cost{_UNSAID}; $OBSERVABILITY sets the default",
    )
    deploy.add_argument(
        "--no-observability",
        dest="observability",
        action="store_false",
        default=None,
        help="the same as `--observability 0`: takes them away",
    )
    deploy.set_defaults(run=_deploy)

    destroy = command(commands, "destroy", "take a registry down; its data stays, unless said")
    _add_stage(destroy)
    destroy.add_argument(
        "--data",
        type=_deletion,
        metavar=_DELETE,
        default=os.environ.get("DATA") or None,
        help="delete all images and access tokens too; $DATA sets the default",
    )
    _add(destroy, "confirm", "CONFIRM", "STACK", "the data stack's name, instead of being asked")
    destroy.set_defaults(run=_destroy)


def _add_stage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stage", required=True, help="what to call it: `x` is moorage-x")


def _add(
    parser: argparse.ArgumentParser, option: str, variable: str, metavar: str, text: str
) -> None:
    parser.add_argument(
        f"--{option}",
        metavar=metavar,
        default=os.environ.get(variable) or None,
        help=f"{text}; ${variable} sets the default",
    )


def _deploy(options: argparse.Namespace) -> int:
    from moorage.deploy import run as deploy  # noqa: PLC0415 - loads the AWS SDK
    from moorage.deploy import texts as deploy_texts  # noqa: PLC0415 - loads the AWS SDK

    token_file = options.admin_token_file
    wanted = deploy.DeployOptions(
        stage=options.stage,
        package=options.package,
        parameters=_given(options, _PARAMETERS),
        bucket=options.bucket,
        admin_token_file=None if token_file is None else Path(token_file),
        observability=options.observability,
        watching=_given(options, _WATCHING),
    )
    return _told(options, lambda: deploy_texts.deployed(deploy.deploy(wanted, os.environ)))


def _given(options: argparse.Namespace, rows: tuple[tuple[str, ...], ...]) -> dict[str, str]:
    values = {
        parameter: getattr(options, option.replace("-", "_")) for option, _, parameter, _, _ in rows
    }
    return {parameter: value for parameter, value in values.items() if value is not None}


def _asked(word: str) -> bool:
    if word.lower() in _YES | _NO:
        return word.lower() in _YES
    raise argparse.ArgumentTypeError(
        f"{word!r} (said, or in $OBSERVABILITY) is neither 1, yes, on, true nor 0, no, off, false,"
        " none"
    )


def _deletion(word: str) -> str:
    if word == _DELETE:
        return word
    raise argparse.ArgumentTypeError(
        f"{word!r} (said, or in $DATA) is not `{_DELETE}`; to keep the data, say nothing"
    )


def _destroy(options: argparse.Namespace) -> int:
    from moorage.deploy import destroy as deploy_destroy  # noqa: PLC0415 - likewise

    wanted = deploy_destroy.DestroyOptions(
        options.stage, data=options.data == _DELETE, confirmed=options.confirm
    )
    return _told(options, lambda: deploy_destroy.destroy(wanted, os.environ))


def _told(options: argparse.Namespace, act: Callable[[], str]) -> int:
    from moorage.access.admin import AdminError  # noqa: PLC0415 - likewise
    from moorage.deploy.errors import AWS_ERRORS, DeployError, say  # noqa: PLC0415 - likewise

    try:
        text = act()
    except (DeployError, AdminError, OSError) as error:
        problem = str(error)
    except (*AWS_ERRORS, RegistryError) as error:
        problem = say(error)
    except KeyboardInterrupt:
        problem = "stopped; what CloudFormation has begun goes on: see the console, or run it again"
    else:
        sys.stdout.write(text)
        return 0
    sys.stderr.write(f"moorage {options.command}: {problem}\n")
    return 1
