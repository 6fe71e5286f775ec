"""What is merged into the template of the API: variables, parameters."""

from __future__ import annotations

import inspect
import logging
import re
from typing import Any

import pytest

from chalicelib.settings import Settings, SettingsError
from moorage.common.data import SIGNING_KEY
from tests.infra.templates import API

PARAMETERS: dict[str, Any] = API["Parameters"]
ACCESS = {"MOORAGE_ACCESS_TABLE", "MOORAGE_URL", "MOORAGE_SIGNING_KEY"}
WATCHED = {"MOORAGE_METRICS", "MOORAGE_TRACING", "POWERTOOLS_LOG_LEVEL", "POWERTOOLS_SERVICE_NAME"}
CHOICES = {
    "MOORAGE_HEAD_STRATEGY": "head_strategy",
    "MOORAGE_INLINE_LIMIT": "inline_limit",
    "MOORAGE_MANIFEST_LIMIT": "manifest_limit",
    "MOORAGE_SPARSE_INDEX": "sparse_index",
}
DATA = {"MOORAGE_BUCKET", "MOORAGE_REGISTRY_TABLE", "MOORAGE_UPLOADS_TABLE"}


def variables(function: str) -> dict[str, Any]:
    """Return a function's environment."""
    found: dict[str, Any] = API["Resources"][function]["Properties"]["Environment"]
    return dict(found["Variables"])


def test_no_function_is_deployed_without_access_control() -> None:
    """MOORAGE_AUTH, which opens a registry, is for a laptop."""
    for function in ("APIHandler", "Authorizer", "Commit", "Sweep"):
        assert "MOORAGE_AUTH" not in variables(function)


def test_each_function_has_the_variables_that_it_needs() -> None:
    """The authorizer has none of the data's, the background functions none of access."""
    commit = {"MOORAGE_COMMIT_FUNCTION"}
    assert set(variables("APIHandler")) == DATA | ACCESS | WATCHED | commit | set(CHOICES)
    assert set(variables("Authorizer")) == ACCESS | WATCHED
    assert set(variables("Commit")) == set(variables("Sweep")) == DATA | WATCHED
    shared = {name: variables("APIHandler")[name] for name in ACCESS | WATCHED}
    assert shared == variables("Authorizer")


def settings(**choices: str) -> Settings:
    """Return the code's settings for an environment with these variables."""
    return Settings.read(dict.fromkeys(DATA, "x") | choices)


@pytest.mark.parametrize("variable", CHOICES)
def test_every_allowed_value_of_a_parameter_is_accepted_by_the_code(variable: str) -> None:
    """The parameter's default is the code's own, and its bounds are the code's."""
    parameter = PARAMETERS[variables("APIHandler")[variable]["Ref"]]
    field = CHOICES[variable]
    default = str(parameter["Default"])
    assert getattr(settings(**{variable: default}), field) == getattr(settings(), field)
    if parameter["Type"] == "Number":
        for bound in (parameter["MinValue"], parameter["MaxValue"]):
            assert getattr(settings(**{variable: str(bound)}), field) == bound
        with pytest.raises(SettingsError):
            settings(**{variable: str(parameter["MaxValue"] + 1)})
    else:
        taken = {getattr(settings(**{variable: v}), field) for v in parameter["AllowedValues"]}
        assert len(taken) == len(parameter["AllowedValues"]) > 1
    assert f'"{variable.removeprefix("MOORAGE_")}"' in inspect.getsource(Settings.read)


def test_no_log_level_hides_the_lines_that_alarms_count() -> None:
    """They are written at WARNING."""
    levels = PARAMETERS["LogLevel"]["AllowedValues"]
    assert PARAMETERS["LogLevel"]["Default"] == "INFO"
    assert max(logging.getLevelNamesMapping()[name] for name in levels) == logging.WARNING


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("", True),
        ("https://abc123.execute-api.eu-west-1.amazonaws.com", True),
        ("https://registry.example:8443", True),
        ("http://registry.example", False),
        ("https://registry.example/", False),
        ("https://registry.example/v2", False),
        ("https://Registry.example", False),
        ("registry.example", False),
        ("https://a'b", False),
        ('https://a"b', False),
        ("https://${x}", False),
    ],
)
def test_only_a_url_without_a_path_is_allowed_as_public_url(url: str, *, allowed: bool) -> None:
    """It is copied into the challenge: no quotes, and never without TLS."""
    assert PARAMETERS["PublicUrl"]["Default"] == ""
    assert bool(re.search(PARAMETERS["PublicUrl"]["AllowedPattern"], url)) is allowed


def test_the_signing_keys_default_name_is_that_of_the_commands() -> None:
    """A name must fit behind `parameter` in an ARN."""
    parameter = PARAMETERS["SigningKeyParameter"]
    assert parameter["Default"] == SIGNING_KEY
    assert re.search(parameter["AllowedPattern"], SIGNING_KEY)
    for name in ("", "/", "signing-key", "/a//b", "/a*", "/a/"):
        assert not re.search(parameter["AllowedPattern"], name)
