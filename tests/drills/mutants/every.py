"""All mutants."""

from __future__ import annotations

from tests.drills.mutants import collector, direct, manifests, quotas, retention, tickets, uploads
from tests.drills.mutants.conditions import CLAUSES

RULES = [
    *uploads.RULES,
    *direct.RULES,
    *tickets.RULES,
    *manifests.RULES,
    *quotas.RULES,
    *collector.RULES,
    *retention.RULES,
]
"""Those that break a rule of the program."""

ALL = [*CLAUSES, *RULES]
