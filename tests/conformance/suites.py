"""THE table: which conformance suites are run, how, and what a registry with no fault scores.

A floor may only be raised, or moved together with the suite's own version. Never lower one, or add
to the tests that may be skipped, to let a change of ours pass.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# All are opt-in settings; the suites test what they allow.
MOORAGE_SETTINGS = {
    "MOORAGE_ANONYMOUS_MOUNT": "1",
    "MOORAGE_SPARSE_IMAGE": "1",
    "MOORAGE_SPARSE_INDEX": "1",
}

CANCEL_TESTS = frozenset(
    f"OCI Conformance Test/{algorithm} blobs/post cancel/blob-post-cancel"
    for algorithm in ("sha256", "sha512")
)
_MOUNTING = "Push Cross-Repository Blob Mount Cross-mounting"
# The first two are for registries that take no pushes, the others for those that mount nothing.
GINKGO_SKIPS = frozenset(
    f"[It] OCI Distribution Conformance Tests {test}"
    for test in (
        "Pull Setup Get tag name from environment",
        "Content Discovery Setup Populate registry with test tags (no push)",
        f"{_MOUNTING} of nonexistent blob should yield session id",
        f"{_MOUNTING} without from, and automatic content discovery disabled should return a 202",
    )
)


class Program(enum.Enum):
    """The two programs, which read other variables and count in other ways."""

    CURRENT = "conformance"
    """Of the specification's main branch. A test case holds several checks; the heads count."""
    GINKGO = "ginkgo"
    """As it was at specification 1.1. A test case is a check; the heads count set-up too."""


@dataclass(frozen=True)
class Expected:
    """What a gate asks for: at least so many passes, no failure, and just these skips."""

    program: Program
    passed: int
    skipped: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Suite:
    """One version of the specification to hold a registry to."""

    name: str
    """For the current program: the version, as the program calls it."""
    expected: Expected

    def environment(self, host: str, repositories: str, results: Path) -> Mapping[str, str]:
        """Variables for a run against ``host:port`` that writes junit.xml into ``results``."""
        first, second = f"{repositories}/one", f"{repositories}/two"
        if self.expected.program is Program.CURRENT:
            return {
                "OCI_VERSION": self.name,
                "OCI_REGISTRY": host,
                "OCI_TLS": "disabled",
                "OCI_REPO1": first,
                "OCI_REPO2": second,
                "OCI_DATA_SPARSE": "true",
                "OCI_RESULTS_DIR": str(results),
            }
        return {
            "OCI_ROOT_URL": f"http://{host}",
            "OCI_NAMESPACE": first,
            "OCI_CROSSMOUNT_NAMESPACE": second,
            "OCI_AUTOMATIC_CROSSMOUNT": "1",
            "OCI_TEST_PULL": "1",
            "OCI_TEST_PUSH": "1",
            "OCI_TEST_CONTENT_DISCOVERY": "1",
            "OCI_TEST_CONTENT_MANAGEMENT": "1",
            "OCI_REPORT_DIR": str(results),
        }


# Without OCI_DATA_SPARSE the first two would be 986 and 860.
SUITES = (
    Suite("dev", Expected(Program.CURRENT, passed=1032)),
    Suite("1.1", Expected(Program.CURRENT, passed=906, skipped=CANCEL_TESTS)),
    Suite("ginkgo", Expected(Program.GINKGO, passed=75, skipped=GINKGO_SKIPS)),
)
