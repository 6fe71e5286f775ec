"""`moorage rules`: shows and sets the document of a registry's rules.

This module must never set a document that the registry could not read.
"""

import contextlib
import getpass
import json
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.rules.document import Rules, StoredRules, parse_rules
from chalicelib.rules.reading import RulesInvalidError, any_matches
from chalicelib.stores.dynamodb.rules import DynamoRulesStore, RulesMovedError
from chalicelib.strict_json import JsonInvalidError, read_object
from moorage.access.commands import table_name
from moorage.access.signing_key import moment
from moorage.common.aws import Aws, explained
from moorage.common.data import DataNames
from moorage.common.errors import CommandError, UsageError

_EXPORT = "RegistryTableName"


@dataclass(frozen=True, slots=True)
class ShownRules:
    """The rules in force, and when and by whom they were set."""

    version: int
    text: str
    moment: str
    set_by: str


@dataclass(frozen=True, slots=True)
class RegistryRules:
    """The rules of a registry, in its table `registry`; names and errors are as in AccessTable."""

    stack: str
    table: str | None = None
    endpoint: str | None = None

    def show(self) -> ShownRules | None:
        """Return the rules in force; None if none were ever set."""
        with self._opened() as store:
            stored = store.current()
        if stored is None:
            return None
        return ShownRules(stored.version, stored.text, moment(stored.set_at), stored.set_by)

    def replace(self, text: str, *, check: bool = False) -> Sequence[str]:
        """Put rules in force, or only `check` them; returns what to tell a person.

        Raises UsageError for what is no rules.
        """
        _parsed(text)
        with self._opened() as store:
            return _replaced(store, store.current(), text, check=check)

    def replace_section(self, name: str, text: str | None, *, check: bool = False) -> Sequence[str]:
        """Do the same with one section, and let the others be; without a text it is taken out."""
        with self._opened() as store:
            before = store.current()
            return _replaced(store, before, _joined(before, name, text), check=check)

    def section(self, name: str) -> str | None:
        """Return a section of the rules in force as `replace_section` takes it; None: no such."""
        document = _document(self.show())
        return json.dumps(document[name], indent=2) if name in document else None

    def draft(self, name: str, text: str) -> Rules:
        """Return the rules as they would be with this section; raises UsageError."""
        with self._opened() as store:
            return _parsed(_joined(store.current(), name, text))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[DynamoRulesStore]:
        with explained():
            aws = Aws(self.endpoint)
            local = DataNames().registry_table
            table = self.table or table_name(aws, self.stack, _EXPORT, local)
            client = aws.client("dynamodb")
        with explained(table, "MOORAGE_REGISTRY_TABLE"):
            yield DynamoRulesStore(client, table)


def _document(stored: ShownRules | StoredRules | None) -> dict[str, Any]:
    """Return the document that is set; an empty text, which 0.1 took, is one without rules."""
    document: dict[str, Any] = json.loads(stored.text or "{}") if stored is not None else {}
    return document


def _parsed(text: str) -> Rules:
    if not text.strip():
        raise UsageError("this is empty; a document without rules is {}")
    try:
        return parse_rules(text)
    except RulesInvalidError as error:
        raise UsageError(str(error)) from None


def _joined(before: StoredRules | None, name: str, text: str | None) -> str:
    """Return the document with another section; a file may hold the section or a document of it."""
    document = _document(before)
    document.pop(name, None)
    if text is not None:
        try:
            given = read_object(text.encode())
        except JsonInvalidError as error:
            raise UsageError(f"this can't be read as JSON: {error}") from None
        others = sorted(given.keys() - {name})
        if name in given and others:
            raise UsageError(
                f"this has {others[0]!r} beside {name!r}: `moorage rules set` sets a whole document"
            )
        document[name] = given.get(name, given)
    return json.dumps(document, indent=2)


def _replaced(
    store: DynamoRulesStore, before: StoredRules | None, text: str, *, check: bool
) -> Sequence[str]:
    rules = _parsed(text)
    version = before.version + 1 if before else 1
    said = list(_unmatched(rules, store))
    if check:
        return [*said, f"the rules can be set, as version {version}"]
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    after = StoredRules(version, text, time.time(), who)
    try:
        store.replace(before, after)
    except RulesMovedError:
        raise CommandError(
            "somebody else has set other rules at this moment: look at them by"
            " `moorage rules show`, and set yours again"
        ) from None
    return [*said, f"the rules are in force, as version {version}"]


def _unmatched(rules: Rules, store: DynamoRulesStore) -> Iterator[str]:
    """Say of each pattern of repositories, and of tags, that matches nothing by now."""
    names = store.repositories()
    patterns = [(rule.name, each) for rule in rules.immutable for each in rule.repositories]
    patterns += [(rule.name, each) for rule in rules.retention for each in rule.repositories]
    patterns += [(rule.name, each) for rule in rules.quotas for each in rule.repositories]
    for name, pattern in patterns:
        if not any(map(pattern.matches, names)):
            yield f"rule {name!r}: {pattern} matches no repository that is there"
    waiting = {
        rule.name: {glob for glob in (*rule.tags, *rule.exceptions) if glob != "*"}
        for rule in rules.retention
    }
    for name in names:
        wanting = [rule for rule in rules.retention if waiting[rule.name] and rule.is_for(name)]
        if wanting:
            tags = store.tags(name)
            for rule in wanting:
                found = {
                    glob
                    for glob in waiting[rule.name]
                    if any(any_matches((glob,), tag) for tag in tags)
                }
                waiting[rule.name] -= found
    for rule in rules.retention:
        for glob in sorted(waiting[rule.name]):
            yield f"rule {rule.name!r}: {glob} matches no tag that is there"
