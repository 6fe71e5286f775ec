"""Which HEAD strategy is chosen: by a deployment, by `moorage local`, by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from chalicelib.settings import HeadStrategy, Settings, SettingsError
from moorage.common.checkout import CHECKOUT
from moorage.common.data import DataNames
from moorage.local import run as local

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def test_a_deployment_begins_with_redirects() -> None:
    """The deployed template has it unless it is told otherwise: it is right before any gateway."""
    template = yaml.safe_load((CHECKOUT / "infra" / "api.merge.yaml").read_text(encoding="utf-8"))
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
