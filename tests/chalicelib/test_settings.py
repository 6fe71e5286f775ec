"""What the environment says of access control, and what it is refused for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chalicelib.settings import AccessSettings, HeadStrategy, Settings, SettingsError
from moorage.common.data import DataNames
from moorage.common.project import API_TEMPLATE, load_template
from moorage.local import options as local

if TYPE_CHECKING:
    from collections.abc import Mapping


GIVEN = {
    **DataNames().variables(),
    "MOORAGE_URL": "https://abc123.execute-api.eu-central-1.amazonaws.com",
    "MOORAGE_SIGNING_KEY": "/moorage/signing-key",
}


def read(**changes: str) -> AccessSettings | None:
    """Read an environment with changes; an empty value is none."""
    return AccessSettings.read({**GIVEN, **changes})


def test_access_is_controlled_unless_it_is_said_otherwise() -> None:
    """No variable is needed for it to be on, and the word for off is one."""
    for unsaid in ({}, {"MOORAGE_AUTH": ""}, {"MOORAGE_AUTH": "on"}):
        settings = read(**unsaid)
        assert settings is not None
        assert settings.service == "abc123.execute-api.eu-central-1.amazonaws.com"
        assert settings.realm == f"{GIVEN['MOORAGE_URL']}/v2/_token"
    assert read(MOORAGE_AUTH="off") is None


def test_a_deployment_always_has_access_control() -> None:
    """In Lambda, turning it off makes every request fail."""
    with pytest.raises(SettingsError, match="MOORAGE_AUTH"):
        read(MOORAGE_AUTH="off", AWS_LAMBDA_FUNCTION_NAME="moorage-api")
    assert read(AWS_LAMBDA_FUNCTION_NAME="moorage-api") is not None


@pytest.mark.parametrize("auth", ["false", "0", "OFF", "off ", "none"])
def test_an_unknown_word_is_refused(auth: str) -> None:
    """A misspelt value does not open a registry."""
    with pytest.raises(SettingsError, match="MOORAGE_AUTH"):
        read(MOORAGE_AUTH=auth)


@pytest.mark.parametrize("name", ["ACCESS_TABLE", "URL", "SIGNING_KEY"])
def test_a_missing_variable_is_named(name: str) -> None:
    """It stops the registry."""
    with pytest.raises(SettingsError, match=f"MOORAGE_{name}"):
        read(**{f"MOORAGE_{name}": ""})


@pytest.mark.parametrize(
    "url",
    [
        "registry.example.com",
        "https://registry.example.com/",
        "https://registry.example.com/v2",
        "https://user@registry.example.com",
        'https://registry.example.com"',
        "https://registry.example.com\nX: y",
        "ftp://registry.example.com",
        "https://",
    ],
    ids=range(8),
)
def test_a_public_url_with_more_than_a_host_is_refused(url: str) -> None:
    """Only a host, with or without a port, can be in the challenge and in tokens."""
    with pytest.raises(SettingsError, match="MOORAGE_URL"):
        read(MOORAGE_URL=url)


def test_a_mount_from_anywhere_is_for_an_open_registry() -> None:
    """It would find blobs in repositories that the caller may not see."""
    with pytest.raises(SettingsError, match="MOORAGE_ANONYMOUS_MOUNT"):
        read(MOORAGE_ANONYMOUS_MOUNT="1")
    assert read(MOORAGE_ANONYMOUS_MOUNT="1", MOORAGE_AUTH="off") is None


@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("", None),
        ("http://127.0.0.1:4566/", "http://127.0.0.1:4566"),
        ("http://localhost:4566", "http://localhost:4566"),
        ("https://vpce-1.sts.eu-central-1.vpce.amazonaws.com", None),
        ("http://127.0.0.1.evil.example", None),
    ],
)
def test_only_an_emulator_on_this_machine_stands_in_for_sts(
    endpoint: str, asked: str | None
) -> None:
    """What proves an AWS identity is asked of AWS, unless AWS is emulated here."""
    settings = read(AWS_ENDPOINT_URL=endpoint)
    assert settings is not None
    assert settings.sts_endpoint == asked


STRATEGY = "MOORAGE_HEAD_STRATEGY"
REQUIRED = DataNames().variables()


def strategy(environment: Mapping[str, str]) -> str:
    """The strategy that a registry with these variables has."""
    return Settings.read({**REQUIRED, **environment}).head_strategy


def test_a_registry_redirects_unless_it_is_told_otherwise() -> None:
    """The default is right behind any gateway, and an empty variable is none."""
    assert strategy({}) == strategy({STRATEGY: ""}) == HeadStrategy.REDIRECT
    assert Settings("bucket", "registry", "uploads").head_strategy == HeadStrategy.REDIRECT


@pytest.mark.parametrize("chosen", HeadStrategy)
def test_each_strategy_can_be_chosen(chosen: HeadStrategy) -> None:
    """The variable takes the name of every strategy that the API knows."""
    assert strategy({STRATEGY: chosen.value}) == chosen


@pytest.mark.parametrize("unknown", ["zero", "Body", "redirect "])
def test_an_unknown_strategy_is_refused(unknown: str) -> None:
    """A word that is no strategy stops the registry, and the error names the variable."""
    with pytest.raises(SettingsError, match=STRATEGY):
        strategy({STRATEGY: unknown})


of_the_collector = pytest.mark.parametrize(
    ("variable", "setting"), [("MOORAGE_GC_GRACE", "grace"), ("MOORAGE_GC_EVERY", "collect_every")]
)


@of_the_collector
@pytest.mark.parametrize(
    ("told", "seconds"), [("", 86_400), ("24h", 86_400), ("100h", 360_000), ("5s", 5), ("0s", 0)]
)
def test_the_collectors_times_are_in_hours_or_seconds(
    variable: str, setting: str, told: str, seconds: float
) -> None:
    """Without the variable it is a day."""
    read = Settings.read({**REQUIRED, variable: told})
    assert getattr(read, setting) == seconds
    others = {"grace", "collect_every"} - {setting}
    assert [getattr(read, other) for other in others] == [86_400]


@of_the_collector
@pytest.mark.parametrize("told", ["24", "h", "-1h", "1.5h", "1d", "24 h", "²h", "99999999999s"])
def test_a_time_that_cannot_be_read_is_refused(variable: str, setting: str, told: str) -> None:
    """Nothing is collected by a guess."""
    del setting
    with pytest.raises(SettingsError, match=f"{variable} must be like 24h"):
        Settings.read({**REQUIRED, variable: told})


@of_the_collector
@pytest.mark.parametrize(
    ("told", "allowed"),
    [("24h", True), ("86400s", True), ("23h", False), ("86399s", False), ("5s", False)],
)
def test_only_a_local_registry_may_have_a_time_below_a_day(
    variable: str, setting: str, told: str, *, allowed: bool
) -> None:
    """In Lambda a push may take so long, and a pass costs money."""
    environment = {**REQUIRED, variable: told, "AWS_LAMBDA_FUNCTION_NAME": "moorage-collect"}
    if allowed:
        assert getattr(Settings.read(environment), setting) == 86_400
    else:
        with pytest.raises(SettingsError, match="only a local registry"):
            Settings.read(environment)


@pytest.mark.parametrize(("told", "on"), [({}, True), ({"MOORAGE_GC": "0"}, False)])
def test_garbage_is_collected_unless_it_is_said_otherwise(
    told: Mapping[str, str], *, on: bool
) -> None:
    """A word that is neither is refused, as for every switch."""
    assert Settings.read({**REQUIRED, **told}).collect is on
    with pytest.raises(SettingsError, match="MOORAGE_GC must be one of 1, 0"):
        Settings.read({**REQUIRED, "MOORAGE_GC": "no"})


def test_a_deployment_begins_with_redirects() -> None:
    """The deployed template has it unless it is told otherwise: it is right before any gateway."""
    template = load_template(API_TEMPLATE)
    variables = template["Resources"]["APIHandler"]["Properties"]["Environment"]["Variables"]
    parameter = template["Parameters"][variables[STRATEGY]["Ref"]]
    assert parameter["Default"] == "redirect"
    assert set(parameter["AllowedValues"]) == set(HeadStrategy)


@pytest.mark.parametrize(
    ("head_mode", "expected"), [("body", HeadStrategy.BODY), ("zero", HeadStrategy.REDIRECT)]
)
@pytest.mark.parametrize("inherited", [{}, {STRATEGY: "body"}, {STRATEGY: "redirect"}])
def test_a_local_registry_is_set_for_its_gateway(
    head_mode: str, expected: HeadStrategy, inherited: dict[str, str]
) -> None:
    """`moorage local` sets what its gateway's head mode needs, whatever the shell has set."""
    environment = local.gateway_environment(
        inherited, local.LocalOptions(head_mode=head_mode), DataNames(), "http://aws"
    )
    assert strategy(environment) == expected
