"""`moorage deploy` and `moorage destroy`: the options, and what each calls.

`make deploy` gives all of them but the stage by variables. A word that
is neither yes nor no, or not `delete`, stops the command, in a variable too.
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
_EMPTIED = "`none` takes it away"
# Option, the template's parameter, what to show for its value, help.
_PARAMETERS = (
    ("domain", "DomainName", "HOST", f"the registry's own host name; {_EMPTIED}"),
    ("certificate", "CertificateArn", "ARN", "the certificate of that name"),
    ("hosted-zone", "HostedZoneId", "ID", f"the Route 53 zone that names it; {_EMPTIED}"),
    ("log-days", "LogRetentionDays", "DAYS", "how long logs are kept"),
    ("function-log-level", "LogLevel", "DEBUG|INFO|WARNING", "what the functions log"),
    ("metrics", "Metrics", "0|1", "Moorage's own metrics, which cost"),
    ("tracing", "Tracing", "0|1", "traces by X-Ray, which cost"),
    ("api-memory", "ApiMemory", "MB", "memory of the API"),
    ("authorizer-memory", "AuthorizerMemory", "MB", "memory of the authorizer"),
    ("worker-memory", "WorkerMemory", "MB", "memory of commit, verify, sweep and collect"),
    (
        "head-strategy",
        "HeadStrategy",
        "redirect|body",
        "how a HEAD tells its length; measured at the end, if it isn't given",
    ),
    ("inline-limit", "InlineLimit", "BYTES", "the largest blob that the API answers itself"),
    (
        "direct-from",
        "DirectFrom",
        "CIDR,...|region",
        "networks that download from S3, not the edge",
    ),
    (
        "cors-origins",
        "CorsOrigins",
        "ORIGIN,...|*",
        f"origins of pages of other sites that may ask, such as https://ui.example.com; {_EMPTIED}",
    ),
    ("manifest-limit", "ManifestLimit", "BYTES", "the largest manifest"),
    ("request-rate", "RequestRate", "N", "requests a second, above which clients hear 429"),
    ("request-burst", "RequestBurst", "N", "requests at once, likewise"),
    ("token-rate", "TokenRate", "N", "requests a second to the token endpoint"),
    ("token-burst", "TokenBurst", "N", "requests at once to the token endpoint"),
    (
        "trash-days",
        "TrashDays",
        "N",
        "days that a deleted image can be brought back; 0: none",
    ),
    ("garbage-collection", "GarbageCollection", "0|1", "0 deletes no blob that nothing needs"),
    (
        "grace-hours",
        "GraceHours",
        "N",
        "hours that the collector waits with a blob; a day at least",
    ),
    ("sparse-index", "SparseIndex", "0|1", "1 takes an index before the manifests that it names"),
)
# Likewise of the edge's stack.
_EDGE = (
    (
        "edge-price-class",
        "PriceClass",
        "PriceClass_100|PriceClass_200|PriceClass_All",
        "which of CloudFront's places serve",
    ),
)
# Likewise of the stack of alarms.
_WATCHING = (
    ("alarm-email", "AlarmEmail", "ADDRESS", f"who gets alarms; {_EMPTIED}"),
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


_stage = option("--stage", "NAME", "`x` is moorage-x", required=True)


@click.command(cls=Command, exclusive=("observability", "no_observability"))
@_stage
@option("--package", PATH, "the folder that `make package` wrote; without it one is made now")
@_of_templates
@option("--bucket", "NAME", f"a bucket of yours for packages; {_EMPTIED}", variable="DEPLOY_BUCKET")
@_option("admin-token-file", PATH, "where the first API token goes")
@_option(
    "observability",
    "[0|1]",
    "a dashboard and alarms, which cost",
    is_flag=False,
    flag_value="1",
    callback=_switch,
)
@option("--no-observability", None, "as `--observability 0`: takes them away", is_eager=True)
@_option(
    "edge",
    "[yes|no]",
    "a host of CloudFront's, where clients push layers up to 5 GiB with nothing installed",
    is_flag=False,
    flag_value="yes",
    callback=_switch,
)
@option(
    "--no-measure",
    None,
    "leaves the head strategy, which is measured otherwise unless it is given",
    variable="NO_MEASURE",
)
@option(
    "--print-policy",
    None,
    "print the rights that a deployment needs, as an IAM policy, and exit",
    is_eager=True,
    expose_value=False,
    callback=_print_policy,
)
def deploy(*, no_observability: bool, no_measure: bool, **options: Any) -> None:
    """Deploy a registry to your AWS account, or update it.

    What you don't give, by option or variable, stays as it is.
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
@_option("data", _DELETE, "`delete` deletes all images and API tokens too", callback=_deletion)
@_option("confirm", "STACK", "the data stack's name, which is asked for otherwise")
def destroy(*, stage: str, data: bool, confirm: str | None) -> None:
    """Take a registry down; its data is kept, unless you give `--data delete`."""
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
