"""`moorage deploy` and `moorage destroy`: the options, and what each calls.

`make deploy` passes all of them but the stage by variables. A switch that is neither yes nor no
stops the command, also in a variable, and so does a `--data` that is not `delete`.
"""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs: both load the AWS SDK
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import PATH, Decorator, option
from moorage.common.errors import CommandError

_DELETE = "delete"
_YES = frozenset({"1", "yes", "on", "true"})
_NO = frozenset({"0", "no", "off", "false", "none"})
_EMPTIED = "`none` removes it"
# Option, the template's parameter, what to show for its value, help.
_PARAMETERS = (
    ("domain", "DomainName", "HOST", f"the registry's own host name; {_EMPTIED}"),
    ("certificate", "CertificateArn", "ARN", "the ACM certificate of that host name"),
    (
        "hosted-zone",
        "HostedZoneId",
        "ID",
        f"the Route 53 zone for the host name's record; {_EMPTIED}",
    ),
    ("log-days", "LogRetentionDays", "DAYS", "how long logs are kept"),
    ("function-log-level", "LogLevel", "DEBUG|INFO|WARNING", "the log level of the functions"),
    ("metrics", "Metrics", "0|1", "whether to write Moorage's own metrics, which cost money"),
    ("tracing", "Tracing", "0|1", "whether to trace by X-Ray, which costs money"),
    ("api-memory", "ApiMemory", "MB", "memory of the API"),
    ("authorizer-memory", "AuthorizerMemory", "MB", "memory of the authorizer"),
    ("worker-memory", "WorkerMemory", "MB", "memory of commit, verify, sweep and collect"),
    (
        "head-strategy",
        "HeadStrategy",
        "redirect|body",
        "how a HEAD tells a blob's size; default: measured after the deployment",
    ),
    ("inline-limit", "InlineLimit", "BYTES", "the largest blob that the API sends itself"),
    (
        "direct-from",
        "DirectFrom",
        "CIDR,...|region",
        "networks that download from S3 instead of the edge",
    ),
    (
        "cors-origins",
        "CorsOrigins",
        "ORIGIN,...|*",
        f"allow web pages of these origins, such as https://ui.example.com; {_EMPTIED}",
    ),
    ("manifest-limit", "ManifestLimit", "BYTES", "the largest manifest that is accepted"),
    ("request-rate", "RequestRate", "N", "most requests a second; above it the answer is 429"),
    ("request-burst", "RequestBurst", "N", "most requests at once; above it the answer is 429"),
    ("token-rate", "TokenRate", "N", "most requests a second to the token endpoint"),
    ("token-burst", "TokenBurst", "N", "most requests at once to the token endpoint"),
    ("trash-days", "TrashDays", "N", "days for which a deleted image can be restored; 0 is none"),
    (
        "garbage-collection",
        "GarbageCollection",
        "0|1",
        "whether blobs that no image needs are deleted",
    ),
    (
        "grace-hours",
        "GraceHours",
        "N",
        "hours for which the collector keeps a blob that no image needs; at least 24",
    ),
    ("sparse-index", "SparseIndex", "0|1", "1 accepts an index before the manifests that it names"),
)
# Likewise of the edge's stack.
_EDGE = (
    (
        "edge-price-class",
        "PriceClass",
        "PriceClass_100|PriceClass_200|PriceClass_All",
        "the CloudFront locations that serve",
    ),
)
# Likewise of the stack of alarms.
_WATCHING = (
    ("alarm-email", "AlarmEmail", "ADDRESS", f"the address that receives alarms; {_EMPTIED}"),
    ("dashboard", "Dashboard", "on|off", "whether there is a dashboard"),
    ("alarms", "Alarms", "on|off", "whether there are alarms"),
)


def _option(name: str, kind: click.ParamType[Any] | str, text: str, **more: Any) -> Decorator:
    """Declare an option that a variable of the same name sets too."""
    return option(f"--{name}", kind, text, variable=name.upper().replace("-", "_"), **more)


def _of_templates(act: Callable[..., Any]) -> Callable[..., Any]:
    for name, _, metavar, text in reversed((*_PARAMETERS, *_EDGE, *_WATCHING)):
        act = _option(name, metavar, text)(act)
    return act


def _switch(ctx: click.Context, param: click.Parameter, word: str | None) -> bool | None:
    if ctx.params.get(f"no_{param.name}"):  # then a variable's word does not matter
        return False
    if word is None or word.lower() in _YES | _NO:
        return None if word is None else word.lower() in _YES
    raise click.BadParameter(f"{word!r} is neither 1, yes, on, true nor 0, no, off, false, none")


def _deletion(_ctx: click.Context, _param: click.Parameter, word: str | None) -> bool:
    if word not in {None, _DELETE}:
        raise click.BadParameter(f"{word!r} is not `{_DELETE}`; to keep the data, don't give it")
    return word == _DELETE


def _print_policy(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - as click calls it
    if value:
        from moorage.common.project import DEPLOYER_POLICY

        click.echo(DEPLOYER_POLICY.read_text(encoding="utf-8"), nl=False)
        ctx.exit()


_stage = option(
    "--stage", "NAME", "the name of the stage: `x` is the registry moorage-x", required=True
)


@click.command(cls=Command, exclusive=("observability", "no_observability"))
@_stage
@option("--package", PATH, "the folder that `make package` wrote; default: build a package now")
@_of_templates
@option(
    "--bucket", "NAME", f"your own bucket for the packages; {_EMPTIED}", variable="DEPLOY_BUCKET"
)
@_option("admin-token-file", PATH, "write the first API token to this file")
@_option(
    "observability",
    "[0|1]",
    "whether to have a dashboard and alarms, which cost money",
    is_flag=False,
    flag_value="1",
    callback=_switch,
)
@option("--no-observability", None, "the same as `--observability 0`", is_eager=True)
@_option(
    "edge",
    "[yes|no]",
    "whether to have a CloudFront distribution, by which clients push layers up to 5 GiB",
    is_flag=False,
    flag_value="yes",
    callback=_switch,
)
@option("--no-measure", None, "do not measure which head strategy is right", variable="NO_MEASURE")
@option(
    "--print-policy",
    None,
    "print the IAM policy that deploying needs, and exit",
    is_eager=True,
    expose_value=False,
    callback=_print_policy,
)
def deploy(*, no_observability: bool, no_measure: bool, **options: Any) -> None:
    """Deploy a registry to your AWS account, or update it.

    A setting that is given neither by option nor by variable keeps its value.
    """
    from moorage.deploy import run, texts
    from moorage.doctor.run import measured_strategy

    del no_observability  # see _switch
    tables = (_PARAMETERS + _EDGE, _WATCHING)
    parameters, watching = (_taken(options, rows) for rows in tables)
    wanted = run.DeployOptions(**options, parameters=parameters, watching=watching)
    with _interrupted(), output.progress("deploying"):
        result = run.deploy(wanted, os.environ, None if no_measure else measured_strategy)
    click.echo(texts.deployed(result), nl=False)


@click.command(cls=Command)
@_stage
@_option("data", _DELETE, "`delete` also deletes all images and API tokens", callback=_deletion)
@_option("confirm", "STACK", "the data stack's name; default: ask for it")
def destroy(*, stage: str, data: bool, confirm: str | None) -> None:
    """Delete a registry's stacks; its data is kept, unless you give `--data delete`."""
    from moorage.deploy import destroy as demolition

    options = demolition.DestroyOptions(stage, data=data, confirmed=confirm)
    with _interrupted():
        text = demolition.destroy(options, os.environ)
    click.echo(text, nl=False)


def _taken(options: dict[str, Any], rows: Sequence[Sequence[str]]) -> dict[str, str]:
    """Take a template's parameters out of the options; return those that were given."""
    values = {name: options.pop(option.replace("-", "_")) for option, name, *_ in rows}
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def _interrupted() -> Iterator[None]:
    """Turn Ctrl-C into a CommandError."""
    try:
        yield
    except KeyboardInterrupt:
        raise CommandError(
            "stopped; what CloudFormation has begun goes on: see the console, or run it again"
        ) from None
