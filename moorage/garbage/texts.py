"""Formats garbage: as rows for people, as values for programs, and its totals.

This module must never hold a rule.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from chalicelib.registry.collector.report import CollectReport, FindingKind, GarbageFinding
from moorage.common.http import clean
from moorage.common.listing import Listing
from moorage.common.sizes import size_text
from moorage.garbage.run import values

_HEAD = ("WHAT", "REPOSITORY", "DIGEST", "SIZE", "FREED", "WHY")
_SHORT = len("sha256:") + 12
_NAMES = {
    FindingKind.LINK: ("link", "links"),
    FindingKind.BLOB: ("blob", "blobs"),
    FindingKind.GARBAGE: ("object without a record", "objects without a record"),
    FindingKind.STRAY: ("object that nothing names", "objects that nothing names"),
}
_SHOWN = 10
"""Repositories or blobs that are named one by one; programs get all of them."""


def listing(findings: Sequence[GarbageFinding]) -> Listing:
    """List what would go, and what is left out. A blob that goes with its links has no own row."""
    links = {each.digest for each in findings if each.kind is FindingKind.LINK}
    blobs = {each.digest for each in findings if each.kind is FindingKind.BLOB}
    rows = [
        (
            each.kind.value,
            clean(each.repository or "-"),
            "-" if each.digest is None else str(each.digest)[:_SHORT],
            "-" if each.kind is FindingKind.SKIPPED else size_text(each.size),
            "yes" if each.key is not None or each.digest in blobs else "no",
            clean(each.reason),
        )
        for each in findings
        if each.kind is not FindingKind.BLOB or each.digest not in links
    ]
    return Listing(_HEAD, rows, values(findings))


def preview_values(findings: Sequence[GarbageFinding]) -> dict[str, Any]:
    """Return a dry run for programs: `moorage gc --only` reads it."""
    return {"findings": values(findings), "frees": sum(each.frees for each in findings)}


def previewed(findings: Sequence[GarbageFinding]) -> Iterator[str]:
    """Say what a dry run comes to."""
    going = [each for each in findings if each.kind is not FindingKind.SKIPPED]
    if going:
        freed = sum(each.frees for each in going)
        yield f"{_counted(Counter(each.kind for each in going))} would go: {_freed(freed)}"
    else:
        yield "nothing would go"
    yield "what is in the trash, or was pushed of late, stays: `moorage usage` counts it"
    skipped = [each for each in findings if each.kind is FindingKind.SKIPPED]
    yield from _skipped({each.repository: each.reason for each in skipped if each.repository})
    yield from (each.reason for each in skipped if not each.repository)


def report_values(report: CollectReport) -> dict[str, Any]:
    """Return a run for programs."""
    return {**asdict(report), "left": values(report.left), "lost": list(report.lost)}


def reported(report: CollectReport) -> Iterator[str]:
    """Say what a run has done, what it has left and why, and what is wrong."""
    done = [
        f"{number} {word if number == 1 else word + 's'}"
        for number, word in (
            (report.links, "link"),
            (report.records, "record"),
            (report.objects, "object"),
        )
    ]
    if report.repositories:
        yield f"looked at {_plural(report.repositories, 'repository', 'repositories')}"
    yield f"deleted {', '.join(done)}: {_freed(report.freed)}"
    if report.healed:
        healed = _plural(
            report.healed, "link that no record counted", "links that no record counted"
        )
        yield f"mended {healed}: it was removed, or is counted now"
    if report.left:
        stay = _plural(len(report.left), "was to go and stays", "were to go and stay")
        yield f"{stay}, for somebody uses it again:"
        yield from _first([f"{each.repository or each.key} {each.digest}" for each in report.left])
    yield from _skipped(report.skipped)
    if report.lost:
        lost = _plural(len(report.lost), "blob is", "blobs are")
        yield f"{lost} lost, the bytes or the record, until somebody pushes it again:"
        yield from _first(report.lost)
    if report.errors:
        yield f"{_plural(report.errors, 'error')}: see the lines above; run it again"
    if not report.finished:
        yield "the pass is not whole: run it again, or leave it to the registry's own function"


def is_whole(report: CollectReport) -> bool:
    """Whether a run is complete, and found nothing that needs a person's attention."""
    return report.finished and not (report.errors or report.skipped or report.lost)


def _skipped(skipped: Any) -> Iterator[str]:  # noqa: ANN401 - a mapping of names to reasons
    if skipped:
        number = _plural(len(skipped), "repository is", "repositories are")
        yield f"{number} left out, and nothing of it goes:"
        yield from _first([f"{clean(name)}: {clean(why)}" for name, why in skipped.items()])


def _first(lines: Sequence[str]) -> Iterator[str]:
    yield from (f"  {line}" for line in lines[:_SHOWN])
    if len(lines) > _SHOWN:
        yield f"  and {len(lines) - _SHOWN} more: --json names all"


def _counted(numbers: Counter[FindingKind]) -> str:
    words = [_plural(numbers[kind], *names) for kind, names in _NAMES.items() if numbers[kind]]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _freed(size: int) -> str:
    return f"{size_text(size)} of the bucket" if size else "no byte of the bucket"
