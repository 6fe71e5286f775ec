"""`moorage rules`: what is set is what is shown, and what is no rule is not set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.rules import DynamoRulesStore

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command

RULE = {"name": "releases", "repositories": ["team/**"], "tags": ["v*"]}


@pytest.fixture
def at(backend: Backend) -> str:
    """The options that name a registry."""
    return f"--table {backend.registry_table} --aws-endpoint {backend.endpoint_url}"


def test_rules_are_set_and_shown(
    moorage: Command, backend: Backend, at: str, tmp_path: Path
) -> None:
    """Each time as a new version; a pattern that matches no repository by now is said."""
    assert "has no rules" in moorage(f"rules show {at}").err
    backend.dynamodb().put_item(
        TableName=backend.registry_table, Item={"pk": {"S": "CATALOG"}, "sk": {"S": "team/app"}}
    )
    other = {**RULE, "name": "other", "repositories": ["team/**", "nobody/*"]}
    for version, rules in ((1, [RULE]), (2, [RULE, other])):
        file = tmp_path / "rules.json"
        file.write_text(json.dumps({"immutable": rules}))
        checked = moorage(f"rules set {file} --check {at}")
        assert f"can be set, as version {version}" in checked.err
        done = moorage(f"rules set {file} {at}")
        assert (done.status, f"in force, as version {version}" in done.err) == (0, True)
        shown = moorage(f"rules show {at}")
        assert shown.out.rstrip("\n") == file.read_text()
        assert f"version {version}, set 20" in shown.err
    assert "rule 'other': nobody/* matches no repository" in done.err
    assert "team/**" not in done.err


def test_quotas_are_set_and_shown(moorage: Command, at: str, tmp_path: Path) -> None:
    """As one section of the document; a pattern that matches nothing is said."""
    file = tmp_path / "rules.json"
    quota = {"name": "teams", "repositories": ["nobody/*"], "bytes": "50 GiB"}
    file.write_text(json.dumps({"quotas": [quota]}))
    done = moorage(f"rules set {file} {at}")
    assert (done.status, "nobody/* matches no repository" in done.err) == (0, True)
    assert json.loads(moorage(f"rules show {at}").out) == {"quotas": [quota]}
    file.write_text(json.dumps({"quotas": [{**quota, "bytes": "50"}]}))
    refused = moorage(f"rules set {file} {at}")
    assert (refused.status, "quotas[0].bytes: '50' is no size" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "can't be read as JSON"),
        ('{"imutable": []}', "which is none of"),
        ("", "this is empty"),
        ("\n", "this is empty"),
    ],
)
def test_a_wrong_rule_is_not_set(
    moorage: Command, at: str, tmp_path: Path, text: str, said: str
) -> None:
    """It is a usage error that says where, and the rules stay."""
    file = tmp_path / "rules.json"
    file.write_text(text)
    refused = moorage(f"rules set {file} {at}")
    assert (refused.status, said in refused.err) == (2, True)
    assert "has no rules" in moorage(f"rules show {at}").err


def test_an_empty_document_that_is_set_has_no_section(
    moorage: Command, backend: Backend, at: str, tmp_path: Path
) -> None:
    """0.1 took an empty file. What is set now begins with {}."""
    store = DynamoRulesStore(backend.dynamodb(), backend.registry_table)
    store.replace(None, StoredRules(1, "", 0, "somebody"))
    assert "no rules of retention" in moorage(f"retention get {at}").err
    file = tmp_path / "rules.json"
    file.write_text("{}")
    assert moorage(f"rules set {file} {at}").status == 0
    assert moorage(f"rules show {at}").out == "{}\n"
