"""`moorage retention preview`: what the rules in force, or a draft, would remove now, and why.

The registry's own judgement runs in this process, with the owner's right to read. This module must
never decide by itself what goes, nor write anything.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chalicelib.digest import Digest
from chalicelib.registry.retention.judging import RetentionDecision, RetentionReason
from chalicelib.registry.retention.run import Preview, Retention
from chalicelib.registry.retention.units import Unit
from chalicelib.rules.document import Rules
from moorage.access.assembled import registry_of
from moorage.access.commands import DataPlace
from moorage.access.rules import RegistryRules
from moorage.access.signing_key import moment
from moorage.common.aws import Aws, explained
from moorage.common.errors import UsageError
from moorage.common.listing import Listing
from moorage.common.sizes import size_text

SECTION = "retention"
"""The section of the rules that is meant."""

_HEAD = ("REPOSITORY", "IMAGE", "TAGS", "PUSHED", "PULLED", "SIZE", "DECISION")
_TAGS_SHOWN = 3
_DIGEST_SHOWN = len("sha256:") + 12


@dataclass(frozen=True, slots=True)
class RetentionForecast:
    """The decisions about some repositories; `said` are messages for a person beside the list."""

    listing: Listing
    said: Sequence[str]


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """The rules of retention of a registry; names and errors are as in AccessTable."""

    rules: RegistryRules
    bucket: str | None = None

    def forecast(
        self, repository: str | None, draft: str | None, *, every: bool
    ) -> RetentionForecast:
        """Judge one repository, or all; by a `draft` of the section, if one is given.

        With `every`, what stays is in the list as well. Raises UsageError for what is no rules, or
        no repository.
        """
        rules = self.rules.draft(SECTION, draft) if draft is not None else None
        with self._opened() as retention:
            rules = rules or retention.rules()
            if repository is not None and not retention.knows(repository):
                raise UsageError(f"there is no repository {repository}")
            names = retention.repositories() if repository is None else [repository]
            found: list[Preview] = []
            for name in names:
                if repository is None and not any(r.is_for(name) for r in rules.retention):
                    continue
                found.append(retention.preview(name, rules, sizes=True))
        return _forecast(rules, found, every=every)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Retention]:
        at = self.rules
        with explained():
            aws = Aws(at.endpoint)
            names = DataPlace(at.stack, self.bucket, at.table).names(aws)
            registry = registry_of(aws, names)
        with explained(names.registry_table, "MOORAGE_REGISTRY_TABLE"):
            yield registry.retention


def _forecast(rules: Rules, found: Sequence[Preview], *, every: bool) -> RetentionForecast:
    rows = [
        _row(preview, unit)
        for preview in found
        for unit in _roots(preview)
        if every or preview.judgement.decisions[unit.root].goes
    ]
    sums = {
        "images": sum(len(each.judgement.going) for each in found),
        "manifests": sum(len(_going(each)) for each in found),
        "bytes": sum(each.bytes_freed or 0 for each in found),
    }
    values = {**sums, "repositories": [_value(each) for each in found]}
    return RetentionForecast(Listing(_HEAD, rows, values), list(_said(rules, found, sums)))


def _said(rules: Rules, found: Sequence[Preview], sums: Mapping[str, int]) -> Iterator[str]:
    if not rules.retention:
        yield "there are no rules of retention: nothing goes"
        return
    for each in found:
        if each.judgement.stopped:
            yield f"{each.judgement.repository}: nothing goes, {each.judgement.stopped.text}"
    unknown = sum(each.judgement.unknown for each in found)
    if unknown:
        yield f"{unknown} images stay since nobody noted when they were pulled last"
    at_least = "at least " if any(each.bytes_freed is None for each in found) else ""
    yield (
        f"{sums['images']} images ({sums['manifests']} manifests) of {len(found)} repositories"
        f" would go, and free {at_least}{size_text(sums['bytes'])}"
    )


def _roots(preview: Preview) -> Iterator[Unit]:
    """Yield the units whose roots are live."""
    decisions = preview.judgement.decisions
    return (unit for unit in preview.judgement.units.units if unit.root in decisions)


def _going(preview: Preview) -> Sequence[Digest]:
    return [digest for digest in preview.judgement.decisions if preview.judgement.goes(digest)]


def _row(preview: Preview, unit: Unit) -> tuple[str, ...]:
    manifest = preview.facts.manifests[unit.root]
    tags = ", ".join(unit.tags[:_TAGS_SHOWN])
    more = f" and {len(unit.tags) - _TAGS_SHOWN} more" if len(unit.tags) > _TAGS_SHOWN else ""
    pulled = max((preview.facts.manifests[d].pulled_at or 0 for d in unit.members), default=0)
    size = manifest.total_bytes
    return (
        preview.judgement.repository,
        str(unit.root)[:_DIGEST_SHOWN],
        f"{tags}{more}" or "-",
        moment(manifest.pushed_at),
        moment(pulled) if pulled else "-",
        "-" if size is None else size_text(size),
        reason_text(preview.judgement.decisions[unit.root]),
    )


def _value(preview: Preview) -> dict[str, Any]:
    judged = preview.judgement
    return {
        "name": judged.repository,
        "stopped": judged.stopped
        and {"why": judged.stopped.why.value, "text": judged.stopped.text},
        "images": judged.images,
        "going": [str(digest) for digest in _going(preview)],
        "bytes": preview.bytes_freed,
        "decisions": [
            {
                "digest": str(digest),
                "goes": judged.goes(digest),
                "reason": decision.reason.value,
                "by": decision.by,
                "tag": decision.tag,
                "root": str(decision.root),
                "due": _iso(decision.due),
            }
            for digest, decision in judged.decisions.items()
        ],
    }


def reason_text(decision: RetentionDecision) -> str:
    """Say why an image stays, or by which rule it goes."""
    by, of_tag = decision.by, f" ({decision.tag})" if decision.tag else ""
    said = {
        RetentionReason.PUSHING: "stays: a push of it is under way",
        RetentionReason.IN_USE: f"stays: source {by} says that it runs",
        RetentionReason.IMMUTABLE: f"stays: immutable by rule {by}{of_tag}",
        RetentionReason.KEPT: f"stays: kept by rule {by}{of_tag}",
        RetentionReason.NO_RULE: f"stays: no rule lets tag {decision.tag} go",
        RetentionReason.UNKNOWN: f"stays: nobody noted when it was pulled, as rule {by} asks",
        RetentionReason.YOUNG: f"goes {moment(decision.due or 0)} by rule {by}{of_tag}",
        RetentionReason.EXPIRED: f"goes by rule {by}{of_tag}",
    }
    if decision.reason is RetentionReason.NO_RULE and not of_tag:
        return "stays: no rule lets images without a tag go"
    return said[decision.reason]


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
