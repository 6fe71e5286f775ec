"""What the owner of a registry does by `moorage rules`: shows and sets the document of its rules.

This module must never set a document that the registry could not read.
"""

import contextlib
import getpass
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chalicelib.rules.document import StoredRules, parse_rules
from chalicelib.rules.immutable import ImmutableTags
from chalicelib.rules.reading import RulesInvalidError
from chalicelib.stores.dynamodb.rules import DynamoRulesStore, RulesMovedError
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
        try:
            rules = parse_rules(text)
        except RulesInvalidError as error:
            raise UsageError(str(error)) from None
        with self._opened() as store:
            names = store.repositories()
            before = store.current()
            version = before.version + 1 if before else 1
            said = [line for rule in rules.immutable for line in _unmatched(rule, names)]
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

    @contextlib.contextmanager
    def _opened(self) -> Iterator[DynamoRulesStore]:
        with explained():
            aws = Aws(self.endpoint)
            local = DataNames().registry_table
            table = self.table or table_name(aws, self.stack, _EXPORT, local)
            client = aws.client("dynamodb")
        with explained(table):
            yield DynamoRulesStore(client, table)


def _unmatched(rule: ImmutableTags, names: Sequence[str]) -> Iterator[str]:
    """Say of each pattern that matches no repository by now that it does not."""
    for pattern in rule.repositories:
        if not any(map(pattern.matches, names)):
            yield f"rule {rule.name!r}: {pattern} matches no repository that is there"
