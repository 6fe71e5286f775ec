"""Each mutant is caught by a drill, and each named clause has a mutant."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

from chalicelib.stores.dynamodb import (
    blobs,
    collection,
    in_use,
    manifests,
    metadata,
    retention,
    sessions,
    usage,
)
from chalicelib.stores.dynamodb.expressions import Clause
from tests.drills.mutants.conditions import CLAUSES
from tests.drills.mutants.every import ALL
from tests.drills.mutants.mutant import Mutant, caught

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("mutant", ALL, ids=lambda mutant: mutant.name)
def test_a_drill_catches_the_mutant(mutant: Mutant) -> None:
    """One of the drills that the mutant names finds a loss."""
    assert caught(mutant) is not None


@pytest.mark.parametrize("check", dict.fromkeys(check for each in ALL for check in each.checked))
def test_a_check_finds_nothing_in_the_program_as_it_is(check: Callable[[], None]) -> None:
    """What a check finds is the mutant's doing."""
    check()


def test_every_named_clause_has_a_mutant() -> None:
    """No clause of the stores is left out."""
    named = set()
    for module in (sessions, blobs, usage, in_use, manifests, metadata, collection, retention):
        home = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            function = inspect.isfunction(value) and value.__module__ == module.__name__
            makes = function and inspect.signature(value).return_annotation in {Clause, "Clause"}
            if makes or isinstance(value, Clause):
                named.add(f"{home}.{name}")
    drilled = {mutant.name.removesuffix(" forgotten") for mutant in CLAUSES}
    assert named == drilled
