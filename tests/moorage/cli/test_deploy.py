"""The words of `moorage deploy` and `moorage destroy`: none is taken for another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from moorage.deploy import destroy as deploy_destroy
from moorage.deploy import run as deploy
from moorage.deploy.texts import DeployResult
from moorage.doctor import run as doctor

if TYPE_CHECKING:
    from tests.support.moorage_command import Command

measures: list[deploy.Measure | None] = []
"""What each deployment was to measure by."""

DEPLOY = "deploy --stage x --package p"
DESTROY = "destroy --stage x"

# Variables, and the templates' parameters that they set.
VARIABLES = {
    "DOMAIN": "DomainName",
    "CERTIFICATE": "CertificateArn",
    "HOSTED_ZONE": "HostedZoneId",
    "LOG_DAYS": "LogRetentionDays",
    "FUNCTION_LOG_LEVEL": "LogLevel",
    "METRICS": "Metrics",
    "TRACING": "Tracing",
    "API_MEMORY": "ApiMemory",
    "AUTHORIZER_MEMORY": "AuthorizerMemory",
    "WORKER_MEMORY": "WorkerMemory",
    "HEAD_STRATEGY": "HeadStrategy",
    "INLINE_LIMIT": "InlineLimit",
    "MANIFEST_LIMIT": "ManifestLimit",
    "CORS_ORIGINS": "CorsOrigins",
    "REQUEST_RATE": "RequestRate",
    "REQUEST_BURST": "RequestBurst",
    "TOKEN_RATE": "TokenRate",
    "TOKEN_BURST": "TokenBurst",
    "SPARSE_INDEX": "SparseIndex",
    "TRASH_DAYS": "TrashDays",
}
WATCHING = {"ALARM_EMAIL": "AlarmEmail", "DASHBOARD": "Dashboard", "ALARMS": "Alarms"}


@pytest.fixture
def asked(moorage: Command, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What either command was asked for; neither does anything."""
    del moorage
    options: list[Any] = []
    measures.clear()

    def deployed(
        wanted: deploy.DeployOptions, _: object, measure: deploy.Measure | None
    ) -> DeployResult:
        options.append(wanted)
        measures.append(measure)
        return DeployResult("https://r.example.com", "moorage-x-data", "/moorage/x/signing-key")

    def destroyed(wanted: deploy_destroy.DestroyOptions, _: object) -> str:
        options.append(wanted)
        return "gone\n"

    monkeypatch.setattr(deploy, "deploy", deployed)
    monkeypatch.setattr(deploy_destroy, "destroy", destroyed)
    return options


WORDS = [
    *((word, True) for word in ("1", "yes", "on", "true", "True", "YES", "On")),
    *((word, False) for word in ("0", "no", "off", "false", "none", "None", "No", "OFF", "False")),
    ("", None),
]


@pytest.mark.parametrize(("word", "meant"), WORDS)
def test_a_switch_takes_the_usual_words(
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    moorage: Command,
    word: str,
    *,
    meant: bool | None,
) -> None:
    """In the variable, in any case: what costs is never turned on by a word for no."""
    monkeypatch.setenv("OBSERVABILITY", word)
    assert moorage(DEPLOY).status == 0
    assert asked[0].observability is meant


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("--observability", True),
        ("--observability 1", True),
        ("--observability none", False),
        ("--no-observability", False),
    ],
)
def test_an_option_overrides_the_variable(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, moorage: Command, words: str, *, meant: bool
) -> None:
    """A switch that is said is what counts, whatever the variable has."""
    for variable in ("1", "0", "perhaps"):
        monkeypatch.setenv("OBSERVABILITY", variable)
        assert moorage(f"{DEPLOY} {words}").status == 0
    assert [each.observability for each in asked] == [meant] * 3


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(
    ("command", "option", "variable", "word"),
    [
        (DEPLOY, "--observability", "OBSERVABILITY", "perhaps"),
        (DEPLOY, "--observability", "OBSERVABILITY", "2"),
        (DESTROY, "--data", "DATA", "Delete"),
        (DESTROY, "--data", "DATA", "keep"),
        (DESTROY, "--data", "DATA", "1"),
    ],
)
def test_an_unknown_word_is_refused(  # noqa: PLR0913 - a row of a table
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    moorage: Command,
    command: str,
    option: str,
    variable: str,
    word: str,
    *,
    said: bool,
) -> None:
    """Given or in a variable, it stops the command before anything is done."""
    if not said:
        monkeypatch.setenv(variable, word)
    result = moorage(f"{command} {option} {word}" if said else command)
    assert (result.status, result.out, asked) == (2, "", [])
    assert f"'{option}' (env var: '{variable}'): {word!r} is n" in result.err
    # Nor does it stop another command.
    assert moorage("proxy --help").status == 0


def test_data_is_deleted_only_by_the_word_delete(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, moorage: Command
) -> None:
    """As an option or in the variable; an empty variable counts as absent."""
    monkeypatch.setenv("DATA", "")
    monkeypatch.setenv("CONFIRM", "moorage-x-data")
    assert moorage(DESTROY).out == "gone\n"
    moorage(f"{DESTROY} --data delete")
    monkeypatch.setenv("DATA", "delete")
    moorage(DESTROY)
    assert [each.data for each in asked] == [False, True, True]
    assert {each.confirmed for each in asked} == {"moorage-x-data"}


@pytest.mark.usefixtures("asked")
def test_the_head_strategy_is_measured_unless_it_is_to_stay(
    monkeypatch: pytest.MonkeyPatch, moorage: Command
) -> None:
    """By doctor; an option or a variable leaves it."""
    moorage(DEPLOY)
    moorage(f"{DEPLOY} --no-measure")
    for word in ("1", "0", ""):
        monkeypatch.setenv("NO_MEASURE", word)
        moorage(DEPLOY)
    by_doctor = doctor.measured_strategy
    assert measures == [by_doctor, None, None, by_doctor, by_doctor]


def test_every_variable_of_deploy_sets_its_parameter(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, moorage: Command
) -> None:
    """An option overrides it, and an empty one counts as absent."""
    names = (*VARIABLES, *WATCHING, "DEPLOY_BUCKET", "ADMIN_TOKEN_FILE")
    moorage(DEPLOY)
    for name in names:
        monkeypatch.setenv(name, f"v-{name}")
    moorage(f"{DEPLOY} --domain said --bucket none")
    for name in names:
        monkeypatch.setenv(name, "")
    moorage(DEPLOY)
    bare, full, empty = asked
    assert bare == empty == deploy.DeployOptions("x", Path("p"))
    assert full == deploy.DeployOptions(
        "x",
        Path("p"),
        {parameter: f"v-{name}" for name, parameter in VARIABLES.items()} | {"DomainName": "said"},
        "none",
        Path("v-ADMIN_TOKEN_FILE"),
        None,
        {parameter: f"v-{name}" for name, parameter in WATCHING.items()},
    )
