"""The gate over the conformance suites' reports, and what is said of them; no suite is run."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest

from tests.conformance import summary
from tests.conformance.gate import Failure, Report, Verdict, judge
from tests.conformance.runs import Outcome
from tests.conformance.suites import SUITES, Expected, Program

BEGAN = 1_000_000.0
CANCEL = "OCI Conformance Test/sha256 blobs/post cancel/blob-post-cancel"
PULL = "OCI Conformance Test/image/pull/manifest-by-tag"
CURRENT = Expected(Program.CURRENT, passed=5, skipped=frozenset({CANCEL}))
GINKGO = Expected(Program.GINKGO, passed=2, skipped=frozenset({"[It] OCI a (no push)"}))


def case(name: str, status: str = "passed", inside: str = "") -> str:
    """A test case as both programs write it."""
    return f"<testcase name={quoteattr(name)} status={quoteattr(status)}>{inside}</testcase>"


def report(*cases: str, written: float = BEGAN + 9, **counts: int) -> Report:
    """A report whose two heads have these counts."""
    heads = " ".join(f'{name}="{number}"' for name, number in counts.items())
    text = f"<testsuites {heads}><testsuite {heads}>{''.join(cases)}</testsuite></testsuites>"
    return Report(text.encode(), written)


def right(**counts: int) -> Report:
    """A report of the current program in which all is well, but for the counts given."""
    cases = (case(PULL), case("other"), case(CANCEL, "skipped"))
    return report(*cases, **({"tests": 6, "disabled": 1} | counts))


def test_a_right_report_holds() -> None:
    """Each check counts, not each test case; what a suite disables counts as skipped.

    A floor is no ceiling: a newer suite may ask more.
    """
    verdict = judge(right(), CURRENT, BEGAN)
    assert (verdict.passed, verdict.failed, verdict.skipped) == (5, 0, 1)
    assert verdict.holds
    assert judge(right(tests=9), CURRENT, BEGAN).holds


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, "there is no junit.xml"),
        (Report(right().content, BEGAN - 1), "older than this run"),
        (Report(right().content[:-20], BEGAN + 9), "can't be read"),
        (Report(b"", BEGAN + 9), "can't be read"),
        (Report(b"<html/>", BEGAN + 9), "holds no test suites"),
        (Report(b'<testsuites tests="6"/>', BEGAN + 9), "holds no test suites"),
        (
            Report(right().content.replace(b'tests="6"', b'tests="7"', 1), BEGAN + 9),
            "contradict each other",
        ),
        (Report(right().content.replace(b'"6"', b'"-6"'), BEGAN + 9), "tests is '-6'"),
        (report(tests=5), "holds no test case"),
    ],
)
def test_no_whole_and_new_report_fails(found: Report | None, problem: str) -> None:
    """A report that is missing, old, cut off or no report at all counts nothing and fails."""
    verdict = judge(found, CURRENT, BEGAN)
    assert (verdict.passed, verdict.failed, verdict.skipped) == (0, 0, 0)
    assert problem in "\n".join(verdict.problems)


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ({"tests": 5}, "4 passed: fewer than the 5 there are"),
        ({"failures": 1}, "1 failed"),
        ({"errors": 2, "tests": 9}, "2 failed"),
        ({"skipped": 1, "tests": 9}, "2 skipped, instead of 1"),
        ({"disabled": 0}, "0 skipped, instead of 1"),
    ],
)
def test_a_count_that_differs_from_the_expected_one_fails(
    counts: dict[str, int], problem: str
) -> None:
    """Too few passes, and any failure, error or skip too many fail even with no test named."""
    verdict = judge(right(**counts), CURRENT, BEGAN)
    assert problem in verdict.problems
    assert not verdict.holds


@pytest.mark.parametrize("status", ["failure", "error", "unknown", ""])
def test_a_failing_test_is_named(status: str) -> None:
    """A test of any status but passed and skipped fails, even if the heads do not count it."""
    told = "<system-out><![CDATA[ expected 200, received 404 ]]></system-out>"
    cases = (case(PULL, status, told), case(CANCEL, "skipped"))
    verdict = judge(report(*cases, tests=6, disabled=1), CURRENT, BEGAN)
    assert verdict.failures == (Failure(PULL, "expected 200, received 404"),)
    assert (verdict.failed, verdict.problems) == (1, ("1 failed",))


def test_another_skip_in_place_of_the_right_one_fails() -> None:
    """As many skips as are right, but not the same tests."""
    cases = (case(PULL, "skipped"), case(CANCEL))
    verdict = judge(report(*cases, tests=6, skipped=1), CURRENT, BEGAN)
    assert verdict.problems == (f"skipped: {PULL}", f"not skipped: {CANCEL}")


def ginkgo(**counts: int) -> Report:
    """A report of Ginkgo's, whose heads also count what is no test."""
    cases = (
        case("[It] OCI a"),
        case("[It] OCI b"),
        case("[It] OCI a (no push)", "skipped", '<skipped message="skipped - x"/>'),
        case("[ReportAfterSuite] html"),
    )
    return report(*cases, **({"tests": 4, "disabled": 1} | counts))


def test_ginkgo_counts_its_tests_alone() -> None:
    """What Ginkgo does before and after the tests is not counted as passed."""
    verdict = judge(ginkgo(), GINKGO, BEGAN)
    assert (verdict.passed, verdict.failed, verdict.skipped) == (2, 0, 1)
    assert verdict.holds


def test_ginkgo_fails_by_its_heads_or_its_cases() -> None:
    """A failure that only the heads know, and one outside the tests, fail as well."""
    assert judge(ginkgo(failures=1), GINKGO, BEGAN).problems == ("1 failed",)
    content = ginkgo().content.replace(
        b'"[ReportAfterSuite] html" status="passed">',
        b'"[ReportAfterSuite] html" status="panicked"><error message="no disk"/>',
    )
    verdict = judge(Report(content, BEGAN + 9), GINKGO, BEGAN)
    assert verdict.failures == (Failure("[ReportAfterSuite] html", "no disk"),)
    assert not verdict.holds


def test_the_table_asks_for_whole_suites() -> None:
    """Every suite has a floor near what it has, and only tests of its own may be skipped."""
    assert {suite.name for suite in SUITES} == {"dev", "1.1", "ginkgo"}
    assert all(suite.expected.passed >= 75 for suite in SUITES)
    assert min(s.expected.passed for s in SUITES if s.expected.program is Program.CURRENT) >= 860
    assert [len(suite.expected.skipped) for suite in SUITES] == [0, 2, 4]


def outcome(door: str, verdict: Verdict, suite: str = "dev") -> Outcome:
    """A run of a suite at a door."""
    return Outcome(suite, door, verdict, Path("build/x"))


def test_each_run_is_a_line_and_their_counts_are_summed() -> None:
    """A line has the suite, the door and the counts, as test runners write them."""
    assert summary.line(outcome("gateway", Verdict(986, 0, 0))) == (
        "dev gateway: 986 passed, 0 failed, 0 skipped"
    )
    runs = [outcome("gateway", Verdict(3, 1, 2)), outcome("proxy", Verdict(4, 0, 2))]
    assert summary.closing(runs) == "7 passed, 1 failed, 4 skipped"


def test_a_gate_that_fails_prints_why() -> None:
    """Each failing test with its message, cut where it quotes megabytes; then the counts."""
    failures = (Failure(PULL, "no 201"), Failure("other", "x " * 1_000_000))
    told = summary.details(outcome("proxy", Verdict(1, 2, 0, failures, ("2 failed",))))
    assert f"FAILED {PULL}\n    no 201\n" in told
    assert "2 failed" in told
    assert len(told) < 1500


def test_a_peer_stands_beside_us() -> None:
    """The table has a column for each door and for the peer, then the groups it fails in."""
    failures = tuple(
        Failure(f"OCI Conformance Test/{name}", "") for name in ("tags/a", "sha512/b", "sha512/c")
    )
    told = summary.side_by_side(
        [outcome("gateway", Verdict(5)), outcome("proxy", Verdict(6))],
        [outcome("them", Verdict(2, 3, 0, failures))],
        "them 2.8.2",
    ).splitlines()
    assert told[0].split() == ["suite", "gateway", "proxy", "them", "2.8.2"]
    assert told[1].count(" passed, ") == 3
    assert told[-2:] == ["     2 sha512", "     1 tags"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("OCI Conformance Test/sha512 blobs/range requests/range 0-", "sha512 blobs"),
        ("[It] OCI Distribution Conformance Tests Content Management Blob (400/405)", "Content"),
        ("[ReportAfterSuite] html", "[ReportAfterSuite] html"),
    ],
)
def test_a_test_belongs_to_the_group_of_its_name(name: str, group: str) -> None:
    """By the first step of its path, or by Ginkgo's workflow."""
    assert summary.group(name).startswith(group)
