"""The invariants of the registry, asserted on a snapshot and on the answers that clients got.

1. The object that a live record or link names exists and has exactly its digest's bytes.
2. A manifest that was accepted can be pulled whole, unless a client deleted it. A DELETE for one
   of its blobs deletes it too, whenever that took effect: users may take their own images apart,
   and only the collector has to check what still names a blob.
3. The bytes before the Range that a client was given are durable.
4. No session is stuck (the drills show that; here only its end is checked), and none is cancelled
   unless a client did, its life is over, or the drill deleted its bytes.
5. What no session, link, manifest or record names is gone at the end; counts and ways back agree.

The sixth, that no answer depends on a failed read, is judged by the client. At the end time passes
until nothing is due any more. This module must never accept what it can't explain, nor end anything
itself.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from chalicelib.digest import Digest
from chalicelib.registry.keys import data_key, read_direct_key, session_prefix
from chalicelib.registry.model import ManifestState, bodies_of, owner_of_bodies
from chalicelib.registry.service import Limits
from chalicelib.registry.session import TERMINAL, Session, UploadState
from chalicelib.registry.upload.chunks import hasher_of
from chalicelib.rules.document import parse_rules
from tests.drills.support.ledger import Ledger, Violation
from tests.support.memory_objects import etag_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drills.support.client import Stage
    from tests.drills.support.snapshot import Snapshot


_LIMITS = Limits()
STRAY_AGE = _LIMITS.ticket_life + _LIMITS.direct_put + _LIMITS.sweep_again
"""Seconds from a POST on, after which the sweeper looks at what came by its ticket."""

_ROUNDS = 6
"""How often the sweeper may have to look at one thing."""


def judge(stage: Stage) -> None:
    """Assert the invariants now, and once more when the sweeper has nothing left to do."""
    seen = stage.world.snapshot()
    check(seen, stage.ledger)
    check(settle(stage, seen), stage.ledger, final=True)


def settle(stage: Stage, seen: Snapshot) -> Snapshot:
    """Let the sweeper come each time that something is due; returns what is there at the end.

    Raises Violation if a session was cancelled for no reason, before the sweeper came or by it.
    """
    clock = stage.world.clock
    require_nobody_cancelled(seen, stage.ledger, clock.now())
    rounds = _ROUNDS * (1 + len(list(_times(seen))))
    for _ in range(rounds):
        due = min(_times(seen), default=None)
        if due is None:
            return seen
        clock.time = max(clock.time, due) + 1
        stage.registry().sweeper.sweep(clock.time + 600)
        seen = stage.world.snapshot()
        require_nobody_cancelled(seen, stage.ledger, clock.now())
    raise Violation(f"something is still due after {rounds} rounds of the sweeper")


def _times(seen: Snapshot) -> Iterator[float]:
    sessions = (session.sweep_at for session in seen.sessions.values())
    manifests = (manifest.sweep_at for manifest in seen.manifests.values())
    for time in (*sessions, *manifests):
        if time is not None:
            yield time
    named = {record.key for record in seen.records.values()}
    for key in seen.objects:
        if key not in named and (put := _put_at(seen, key)) is not None:
            yield put + STRAY_AGE


def _put_at(seen: Snapshot, key: str) -> float | None:
    """Return when the session of a key below direct/ was opened; None if none will look there."""
    found = read_direct_key(key)
    if found is None or key <= seen.searched:
        return None
    time = int(found[0].replace("-", "")[:12], 16) / 1000
    return time if time > 0 else None


def check(seen: Snapshot, ledger: Ledger, *, final: bool = False) -> None:
    """Assert everything; `final` when the sweeper has been at it past all times of grace."""
    _records_and_links(seen, ledger)
    _promised_blobs(seen, ledger)
    _manifests(seen, ledger)
    _tags_and_referrers(seen)
    _history(seen)
    _in_use(seen, ledger)
    _quotas(seen)
    _sessions(seen, ledger)
    _nothing_unnamed(seen, ledger)
    if final:
        _nothing_left(seen, ledger)


def require_nobody_cancelled(seen: Snapshot, ledger: Ledger, now: float) -> None:
    """Assert that no session was cancelled but by a client, by its life's end, or for lost bytes.

    To be called before time passes: a session whose life is over at `now` is not checked.
    """
    for session in seen.sessions.values():
        cancelled = session.state is UploadState.CANCELLED and not session.over_by(now)
        _require(
            not cancelled or ledger.ends(session.id) or session.denied,
            "%s is cancelled with %s bytes, and no client cancelled it",
            session.id,
            session.offset,
        )


def _require(holds: object, message: str, *about: object) -> None:
    if not holds:  # nearly always it does: nothing is written out for that
        raise Violation(message % about)


def _records_and_links(seen: Snapshot, ledger: Ledger) -> None:
    for record in seen.records.values():
        if record.key not in ledger.dead:
            _holds(seen, record.key, record.digest, record.size)
        if (content := record.content) is not None:
            right = Digest.of(content, record.digest.algorithm) == record.digest
            _require(right, "the record of %s has other bytes: %r", record.digest, content)
    for link in seen.links.values():
        owner = seen.records.get(link.digest)
        _require(owner, "%s links to %s, which has no record", link.repository, link.digest)
        _require(owner and owner.size == link.size, "%s has another size than %s", link, owner)
        if owner and not owner.counts(link):
            _require(link.digest in ledger.remade, "%s does not count %s", owner, link)
            _holds(seen, link.key, link.digest, link.size)
            continue
        # A push to another repository has healed the record since: a pull reads what that names.
        same = link.key in ledger.dead or (owner and owner.key == link.key)
        _require(same, "%s names another object than %s", link, owner)
    counted = Counter((digest, link.count_id) for (_, digest), link in seen.links.items())
    for digest, record in seen.records.items():
        number = counted[digest, record.count_id]
        same = record.links == number
        _require(same, "%s counts %s links and has %s", digest, record.links, number)


def _holds(seen: Snapshot, key: str, digest: Digest, size: int) -> None:
    data = seen.objects.get(key)
    _require(data is not None, "%s is named, and not there", key)
    right = data is not None and len(data) == size and Digest.of(data, digest.algorithm) == digest
    _require(right, "%s holds %r, which is not %s bytes of %s", key, data, size, digest)


def _promised_blobs(seen: Snapshot, ledger: Ledger) -> None:
    for place in ledger.blobs:
        _require(
            place in seen.links or place in ledger.unlinked,
            "%s was accepted in %s, and is not there",
            place[1],
            place[0],
        )
        record = seen.records.get(place[1])
        whole = record is None or record.key not in ledger.dead
        _require(whole, "%s was accepted while its record names an object that is gone", place[1])


def _manifests(seen: Snapshot, ledger: Ledger) -> None:
    for (repository, digest), body in ledger.manifests.items():
        if (repository, digest) in ledger.dropped:
            continue
        manifest = seen.manifests.get((repository, digest))
        live = manifest is not None and manifest.state is ManifestState.LIVE
        _require(live, "manifest %s was accepted, and is %s", digest, manifest)
        _require(
            manifest is not None and manifest.body in {body, None}, "%s has other bytes", digest
        )
    for (repository, digest), manifest in seen.manifests.items():
        if manifest.state not in {ManifestState.LIVE, ManifestState.TRASHED}:
            continue
        if manifest.body is None:
            homes = {(bodies_of(repository), digest), (repository, digest)}
            _require(homes & set(seen.links), "%s %s has no body", manifest.state, digest)
        for reference in manifest.references or ():
            place = repository, reference
            there = place in seen.links or place in seen.manifests
            gone = place in ledger.unlinked or place in ledger.dropped
            _require(there or gone, "%s %s lacks %s", manifest.state, digest, reference)


def _tags_and_referrers(seen: Snapshot) -> None:
    ways = {(repository, row.digest, tag) for (repository, tag), row in seen.tags.items()}
    _require(ways == seen.tagged, "tags %s and ways back %s disagree", ways, seen.tagged)
    for (repository, tag), row in seen.tags.items():
        named = seen.manifests.get((repository, row.digest))
        shown = {ManifestState.LIVE, ManifestState.DELETING}
        there = named is not None and named.state in shown
        _require(there, "tag %s names %s", tag, named)
    for repository, subject, digest in seen.referrers:
        owner = seen.manifests.get((repository, digest))
        _require(
            owner is not None
            and owner.subject == subject
            and owner.state in {ManifestState.LIVE, ManifestState.DELETING},
            "referrer row of %s, which is %s",
            digest,
            owner,
        )
    for (repository, digest), manifest in seen.manifests.items():
        if manifest.state is ManifestState.LIVE and manifest.subject is not None:
            listed = (repository, manifest.subject, digest)
            _require(listed in seen.referrers, "live manifest %s has no referrer row", digest)


def _history(seen: Snapshot) -> None:
    """Require a row for each move of a tag, and no more of them than there can have been."""
    moves = Counter((row.repository, row.tag, row.was, row.now) for row in seen.history)
    for (repository, tag), row in seen.tags.items():
        moved = row.previous is None or (repository, tag, row.previous, row.digest) in moves
        _require(moved, "%s named %s before, which no row of history says", tag, row.previous)
    into = Counter((*move[:2], move[3]) for move in moves.elements() if move[3] is not None)
    out = Counter(move[:3] for move in moves.elements())
    for place, times in into.items():
        now = seen.tags.get((place[0], place[1] or ""))
        left = out[place] + (now is not None and now.digest == place[2])
        _require(times <= left, "a tag came to %s more often than it left", place)


def _in_use(seen: Snapshot, ledger: Ledger) -> None:
    """Require of each lease what its source named before or names now, and that it is found."""
    found = {repository: frozenset(lease.digests) for (repository, _), lease in seen.in_use.items()}
    for repository, allowed in ledger.in_use.items():
        named = found.get(repository)
        _require(
            named in allowed, "%s is in use in %s, and not one of %s", named, repository, allowed
        )
    for repository, name in seen.in_use:
        source = seen.sources.get(name)
        there = source is not None and repository in source.repositories
        _require(there, "a lease of %s in %s, which %s does not name", name, repository, source)


def _quotas(seen: Snapshot) -> None:
    """Require that no repository holds more than it may, or less than it was counted to hold."""
    rules = parse_rules(seen.rules.text if seen.rules else "")
    for repository in {place[0] for place in (*seen.links, *seen.tags)}:
        allowed = rules.allowance(repository)
        if allowed is None:
            continue
        size = sum(link.size for (name, _), link in seen.links.items() if name == repository)
        tags = sum(name == repository for name, _ in seen.tags)
        for limit, held in ((allowed.bytes, size), (allowed.tags, tags)):
            _require(
                limit is None or held <= limit.most, "%s holds %s of %s", repository, held, limit
            )
        counted = seen.holdings.get(repository)
        # What was counted under other rules is counted anew before it is gone by.
        current = counted is not None and seen.rules and counted.rules == seen.rules.version
        known = not current or (counted and size <= counted.bytes and tags <= counted.tags)
        _require(
            known, "%s holds %s bytes and %s tags, and %s is known", repository, size, tags, counted
        )


def _sessions(seen: Snapshot, ledger: Ledger) -> None:
    for session_id, offset in ledger.durable_bytes.items():
        session = seen.sessions.get(session_id)
        if session is None or ledger.ends(session_id):
            continue
        _require(
            session.offset >= offset,
            "%s had %s bytes, and has %s",
            session_id,
            offset,
            session.offset,
        )
        if session.state is UploadState.OPEN:
            _stored(seen, session, ledger.chunks[session_id])


def _stored(seen: Snapshot, session: Session, chunks: list[tuple[int, bytes]]) -> None:
    """Require that what an open session has accepted is in S3, and is what its clients sent."""
    parts = seen.multiparts.get((data_key(session.id), session.upload_id or ""), {})
    numbers = [n for n in range(1, session.next_part) if n not in session.burned]
    _require(
        all(n in parts for n in numbers), "%s lacks a part of %s: %s", session.id, numbers, parts
    )
    tail = seen.objects.get(session.tail.key) if session.tail else b""
    _require(tail is not None, "the tail of %s is not there", session)
    sizes = [parts[n].size for n in numbers]
    total = sum(sizes) + len(tail or b"")
    _require(total == session.offset, "%s has %s of %s bytes", session.id, total, session.offset)
    sent = _joined(session, chunks)
    if sent is None:
        return
    begin = 0
    for number, size in zip(numbers, sizes, strict=True):
        same = etag_of(sent[begin : begin + size]) == parts[number].etag
        _require(same, "part %s of %s is not what was sent", number, session.id)
        begin += size
    _require(sent[begin:] == tail, "the tail of %s is %r, not %r", session.id, tail, sent[begin:])
    hasher = hasher_of(session)
    known = hasher is None or hasher.digest() == Digest.of(sent, session.algorithm)
    _require(known, "%s has hashed other bytes than it stored", session.id)


def _joined(session: Session, chunks: list[tuple[int, bytes]]) -> bytes | None:
    """Return the session's bytes as its clients sent them; None if some were never answered."""
    whole = b""
    for at, chunk in sorted(chunks):
        _require(at >= len(whole), "%s accepted two chunks at %s", session.id, at)
        if at > len(whole):
            return None
        whole += chunk
    return whole if len(whole) == session.offset else None


def _nothing_unnamed(seen: Snapshot, ledger: Ledger) -> None:
    """Require that whatever is in S3 is named by an item, from which it can be found again."""
    named = {record.key for record in seen.records.values()}
    both = named & seen.garbage.keys()
    _require(not both, "%s are garbage, and records name them", both)
    named |= seen.garbage.keys() | ledger.strays
    keys = [*seen.objects, *(key for key, _ in seen.multiparts)]
    for key in keys:
        if key in named:
            continue
        if _put_at(seen, key) is not None:
            continue  # the sweeper will look there
        owner = next((s for s in seen.sessions.values() if _may_own(s, key)), None)
        _require(owner, "%s is there, and nothing names it", key)
        watched = owner is not None and (owner.state not in TERMINAL or owner.sweep_at is not None)
        _require(watched, "%s is there, and the sweeper will not come to %s again", key, owner)


def _may_own(session: Session, key: str) -> bool:
    prefixes = session_prefix(session.id), f"direct/{session.id}/"
    return key.startswith(prefixes) or (key.startswith("blobs/") and key.endswith(f"/{session.id}"))


def _nothing_left(seen: Snapshot, ledger: Ledger) -> None:
    named = {record.key for record in seen.records.values()} | seen.garbage.keys() | ledger.strays
    left = [key for key in seen.objects if key not in named]
    _require(not left, "left at the end: %s", left)
    _require(not seen.multiparts, "open at the end: %s", list(seen.multiparts))
    for manifest in seen.manifests.values():
        _require(manifest.state is ManifestState.LIVE, "dead at the end: %s", manifest)
    for home, digest in seen.links:
        repository = owner_of_bodies(home)
        if repository is not None and (home, digest) not in ledger.unlinked:
            owner = seen.manifests.get((repository, digest))
            _require(
                owner and owner.body is None, "the body of %s is left, which is %s", digest, owner
            )
    for session in seen.sessions.values():
        over = session.state in TERMINAL and session.sweep_at is None
        _require(over and session.expires_at, "dead at the end: %s", session)
