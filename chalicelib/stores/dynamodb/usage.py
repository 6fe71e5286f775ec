"""The counts of what repositories with a quota hold, on DynamoDB.

Each such repository has one item. The transactions that add a link or tags raise its count, on
condition that there is room. Deletions do not lower it: the count is an upper bound, and exact
after everything was counted. This module must never overwrite a count that others have raised
since it was read.
"""

# ruff: noqa: D102 - registry.ports says what each method of the store does

from collections.abc import Callable

from chalicelib.errors import UnavailableError
from chalicelib.registry.model import Covered, Holding
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import ConditionFailedError, Dynamo
from chalicelib.stores.dynamodb.expressions import Clause, Put, Update
from chalicelib.stores.dynamodb.items import HOLDING, STORED_RULES
from chalicelib.stores.dynamodb.keys import links_of, rules_key, tags_after, usage_key

TRIES = 8
"""How often what a repository holds is counted while others keep adding to it."""

ABSENT = Clause("attribute_not_exists(#pk)")
"""Nobody has counted what the repository holds."""


def at_version(version: str) -> Clause:
    """Nobody has added anything since this was read."""
    return Clause("#version = :version", {"version": codec.TEXT.encode(version)})


def counted_under(rules: int, since: float) -> Clause:
    """It was counted when the repository was covered already, and every process knew that."""
    values = {"rules": codec.WHOLE.encode(rules), "since": codec.TIME.encode(since)}
    return Clause("#rules = :rules AND #counted_at >= :since", values)


def bytes_at_most(most: int) -> Clause:
    """So many bytes are left as are to be added."""
    return Clause("#bytes <= :most_bytes", {"most_bytes": codec.WHOLE.encode(most)})


def tags_at_most(most: int) -> Clause:
    """So many tags are left as are to be added."""
    return Clause("#tags <= :most_tags", {"most_tags": codec.WHOLE.encode(most)})


class UsageItems:
    """The part of `MetadataStore` that knows what repositories hold, and the rules."""

    _dynamo: Dynamo
    _registry: str
    _new_id: Callable[[], str]
    _rules: tuple[float, StoredRules | None] | None = None
    """The rules as this process knows them, and when they were read."""

    def known_rules(self, now: float, age: float) -> StoredRules | None:
        if self._rules is None or not 0 <= now - self._rules[0] <= age:
            found = self._dynamo.get(self._registry, rules_key(), consistent=False)
            self._rules = now, STORED_RULES.decode_found(found)
        return self._rules[1]

    def get_holding(self, repository: str) -> Holding | None:
        return HOLDING.decode_found(self._dynamo.get(self._registry, usage_key(repository)))

    def count_holding(self, repository: str, rules: int, now: float) -> Holding:
        key = usage_key(repository)
        for _ in range(TRIES):
            before = self.get_holding(repository)
            sizes = self._dynamo.query(self._registry, links_of(repository), ("size",))
            tags = self._dynamo.query(self._registry, tags_after(repository, None), ("sk",))
            after = Holding(
                bytes=sum(codec.WHOLE.decode(item["size"]) for item in sizes),
                tags=len(tags),
                rules=rules,
                counted_at=now,
                version=self._new_id(),
            )
            unmoved = ABSENT if before is None else at_version(before.version)
            try:
                self._dynamo.write(Put(self._registry, key, HOLDING.encode(after), unmoved))
            except ConditionFailedError as failed:
                # The SDK may have sent it twice.
                if HOLDING.decode_found(failed.item) != after:
                    continue
            return after
        raise UnavailableError(f"others keep adding to {repository}")

    def _added(self, repository: str, covered: Covered, size: int, tags: int) -> Update:
        """Add to what a repository holds, if there is room for it."""
        allowed, clause = covered.allowance, counted_under(covered.rules, covered.since)
        if size and allowed.bytes is not None:
            clause &= bytes_at_most(allowed.bytes.most - size)
        if tags and allowed.tags is not None:
            clause &= tags_at_most(allowed.tags.most - tags)
        return Update(
            self._registry,
            usage_key(repository),
            clause,
            set={"version": codec.TEXT.encode(self._new_id())},
            add={"bytes": size, "tags": tags},
        )
