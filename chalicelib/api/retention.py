"""What the retention rules decide for the images of a repository, over HTTP. docs/retention.md.

This module must never change anything, nor show to callers without a login where an image runs.
"""

from datetime import UTC, datetime
from typing import Any

from chalicelib.access.decision import ANONYMOUS
from chalicelib.api.headers import next_link
from chalicelib.api.lists import page_of, to_json
from chalicelib.api.messages import Request, Response
from chalicelib.digest import Digest
from chalicelib.errors import NameUnknownError
from chalicelib.reference import parse_digest
from chalicelib.registry.registry import Registry
from chalicelib.registry.retention.judging import (
    Judgement,
    RetentionDecision,
    RetentionReason,
    Stop,
)
from chalicelib.registry.retention.reading import TooManyError

ROWS = 1000
"""Most manifests on a page."""

MOST = 10_000
"""Most manifests, and most tags, of a repository that is judged while a client waits."""

MOST_FOR_ANYBODY = 1_000
"""The same for a client without a login: each request reads them all, which costs the owner."""


def retention(registry: Registry, request: Request, name: str) -> Response:
    """GET: a page of decisions, by the rules in force: which manifests stay or go, and why."""
    limit, _ = page_of(request, 0)
    rows = ROWS if limit is None else max(1, min(limit, ROWS))
    last = request.parameter("last")
    after = "" if not last else str(parse_digest(last))
    rules = registry.retention.rules()
    of_it = [rule for rule in rules.retention if rule.is_for(name)]
    own = [{"name": rule.name, "words": rule.words} for rule in of_it]
    text: str | None
    answer: dict[str, Any] = {"name": name, "rules": own, "stopped": None, "images": None}
    hidden = request.principal == ANONYMOUS.id
    most = MOST_FOR_ANYBODY if hidden else MOST
    try:
        judged = registry.retention.preview(name, rules, most=most).judgement
    except TooManyError:
        text = f"it has more than {most} manifests or tags"
        answer["stopped"] = {"why": "too-many", "text": text}
        return to_json({**answer, "going": None, "decisions": []}, {})
    if not judged.decisions and not registry.retention.knows(name):
        raise NameUnknownError
    if judged.stopped is not None:
        text = None if hidden and judged.stopped.why is Stop.OVERDUE else judged.stopped.text
        answer["stopped"] = {"why": judged.stopped.why.value, "text": text}
    digests = [digest for digest in judged.decisions if str(digest) > after]
    shown = [_row(judged, digest, hidden=hidden) for digest in digests[:rows]]
    headers = {}
    if len(digests) > rows:
        headers = next_link(f"/v2/{name}/_moorage/retention", n=limit, last=shown[-1]["digest"])
    answer |= {"images": judged.images, "going": len(judged.going), "decisions": shown}
    return to_json(answer, headers)


def _row(judged: Judgement, digest: Digest, *, hidden: bool) -> dict[str, Any]:
    decision: RetentionDecision = judged.decisions[digest]
    is_secret = hidden and decision.reason is RetentionReason.IN_USE
    return {
        "digest": str(digest),
        "goes": judged.goes(digest),
        "reason": decision.reason.value,
        "by": None if is_secret else decision.by,
        "tag": decision.tag,
        "root": str(decision.root),
        "due": _written(decision.due),
    }


def _written(at: float | None) -> str | None:
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
