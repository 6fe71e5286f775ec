"""Formats credentials, trusts and keys: as rows for people, and as values for programs.

This module must never be given a secret, and never shows a hash or a key.
"""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from chalicelib.access.credentials import Credential
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import Trust
from moorage.access.admin import CredentialState, state_of
from moorage.access.signing_key import KeyPhase, StoredKeySet, moment
from moorage.common.listing import Listing

_NEVER = "never"
_NEXT = {
    KeyPhase.STEADY: "no replacement is under way: `moorage key rotate` begins one",
    KeyPhase.BEGUN: (
        "step 1 of 3 is done, the new key is known: from {when} on, `moorage key rotate` lets it"
        " sign"
    ),
    KeyPhase.SWAPPED: (
        "step 2 of 3 is done, the new key signs: from {when} on, `moorage key rotate` drops the"
        " old one"
    ),
}


def until(seconds: float | None) -> str:
    """Return a time for people; None is never."""
    return _NEVER if seconds is None else moment(seconds)


def granted(grants: Grants) -> str:
    """Return grants on one line."""
    return " ".join(grants.texts()) or "nothing"


def tokens(credentials: Sequence[Credential], now: float) -> Listing:
    """List API tokens."""
    head = ("NAME", "ID", "STATE", "CREATED", "EXPIRES", "LAST USED", "GRANTS")
    rows = [
        (
            each.name,
            each.id,
            _state(each, now),
            moment(each.created_at),
            until(each.expires_at),
            each.last_used_day or _NEVER,
            granted(each.grants),
        )
        for each in credentials
    ]
    values = [
        {
            "id": each.id,
            "name": each.name,
            "owner": each.owner,
            "grants": each.grants.texts(),
            "created_at": _iso(each.created_at),
            "expires_at": _iso(each.expires_at),
            "last_used_day": each.last_used_day,
            "state": str(state_of(each, now)),
            "replaced_until": _iso(replaced_until(each, now)),
        }
        for each in credentials
    ]
    return Listing(head, rows, values)


def repositories(names: Sequence[str]) -> Listing:
    """List repositories: one a line, and no head, so that a script can read them."""
    return Listing((), [(name,) for name in names], names)


def trusts(listed: Sequence[Trust]) -> Listing:
    """List trusts."""
    head = ("NAME", "ISSUER", "AUDIENCE", "SUBJECT", "GRANTS")
    rows = [
        (each.name, each.issuer, each.audience or "-", each.subject, granted(each.grants))
        for each in listed
    ]
    values = [asdict(each) | {"grants": each.grants.texts()} for each in listed]
    return Listing(head, rows, values)


def replaced_until(credential: Credential, now: float) -> float | None:
    """Return until when the secret before this one still works; None if it doesn't."""
    end = credential.previous_until
    live = state_of(credential, now) is CredentialState.LIVE
    return end if live and end is not None and now < end else None


def rotated(before: Credential, after: Credential, now: float) -> str:
    """Say until when the secrets of an API token work, after one was replaced."""
    end = replaced_until(after, now)
    works = "no longer works" if end is None else f"works until {moment(end)}"
    older = ", and the one before that no longer does" if replaced_until(before, now) else ""
    return (
        f"replaced the secret of {after.name} (id {after.id}): the old one {works}{older}; the new"
        f" one expires {until(after.expires_at)}"
    )


def key_state(stored: StoredKeySet) -> str:
    """Show the signing keys by their ids, and the next step of a replacement."""
    lines = [
        f"{stored.name}, version {stored.version}, of {moment(stored.changed_at)}",
        f"  signs and verifies  {stored.keys.signing.id}",
    ]
    if stored.keys.other is not None:
        lines.append(f"  verifies            {stored.keys.other.id}")
    # Rounded up: at the minute that is shown, it is time.
    return "\n".join([*lines, _NEXT[stored.phase].format(when=moment(stored.next_at + 60))])


def key_values(stored: StoredKeySet) -> dict[str, object]:
    """Return the same for JSON."""
    other = stored.keys.other
    return {
        "parameter": stored.name,
        "version": stored.version,
        "changed_at": _iso(stored.changed_at),
        "phase": stored.phase.name.lower(),
        "signs": stored.keys.signing.id,
        "verifies": [key.id for key in (stored.keys.signing, other) if key is not None],
        "next_step_at": _iso(stored.next_at + 60),
    }


def _state(credential: Credential, now: float) -> str:
    end = replaced_until(credential, now)
    replaced = "" if end is None else f", and replaced until {moment(end)}"
    return f"{state_of(credential, now)}{replaced}"


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
