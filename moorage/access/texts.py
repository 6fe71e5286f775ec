"""What the commands that manage access print: lists for people, and JSON for programs.

This module must never be given a secret, and never shows a hash.
"""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from chalicelib.access.credentials import Credential
from chalicelib.access.grants import Grants
from chalicelib.access.trusts import Trust
from moorage.access.admin import CredentialState, state_of
from moorage.common.times import moment

if TYPE_CHECKING:
    from moorage.access.signing_key import StoredKeySet

_NEVER = "never"


def until(seconds: float | None) -> str:
    """Return a time for people; None is never."""
    return _NEVER if seconds is None else moment(seconds)


def granted(grants: Grants) -> str:
    """Return grants on one line."""
    return " ".join(grants.texts()) or "nothing"


def credential_table(credentials: Sequence[Credential], now: float) -> str:
    """Return access tokens as lines for people, each ended; nothing for none."""
    head = ("NAME", "ID", "STATE", "CREATED", "EXPIRES", "LAST USED", "GRANTS")
    rows = (
        (
            credential.name,
            credential.id,
            _state(credential, now),
            moment(credential.created_at),
            until(credential.expires_at),
            credential.last_used_day or _NEVER,
            granted(credential.grants),
        )
        for credential in credentials
    )
    return _columns(head, rows)


def credential_json(credentials: Sequence[Credential], now: float) -> str:
    """Return access tokens as a JSON list; times are ISO 8601, null where there is none."""
    return _json(
        {
            "id": credential.id,
            "name": credential.name,
            "owner": credential.owner,
            "grants": credential.grants.texts(),
            "created_at": _iso(credential.created_at),
            "expires_at": _iso(credential.expires_at),
            "last_used_day": credential.last_used_day,
            "state": str(state_of(credential, now)),
            "replaced_until": _iso(replaced_until(credential, now)),
        }
        for credential in credentials
    )


def replaced_until(credential: Credential, now: float) -> float | None:
    """Return until when the secret before this one still works; None if it doesn't."""
    end = credential.previous_until
    live = state_of(credential, now) is CredentialState.LIVE
    return end if live and end is not None and now < end else None


def trust_table(trusts: Sequence[Trust]) -> str:
    """Return trusts as lines for people, each ended; nothing for none."""
    head = ("NAME", "ISSUER", "AUDIENCE", "SUBJECT", "GRANTS")
    rows = (
        (trust.name, trust.issuer, trust.audience or "-", trust.subject, granted(trust.grants))
        for trust in trusts
    )
    return _columns(head, rows)


def trust_json(trusts: Sequence[Trust]) -> str:
    """Return trusts as a JSON list."""
    return _json(
        {
            "name": trust.name,
            "issuer": trust.issuer,
            "audience": trust.audience,
            "subject": trust.subject,
            "grants": trust.grants.texts(),
        }
        for trust in trusts
    )


def key_text(stored: "StoredKeySet") -> str:
    """Return a key ring's state as lines for people, by the keys' ids."""
    lines = [
        f"{stored.name}, version {stored.version}, of {moment(stored.changed_at)}",
        f"  signs and verifies  {stored.ring.signing.id}",
    ]
    if stored.ring.other is not None:
        lines.append(f"  verifies            {stored.ring.other.id}")
    return "".join(f"{line}\n" for line in lines)


def _state(credential: Credential, now: float) -> str:
    end = replaced_until(credential, now)
    replaced = "" if end is None else f", and replaced until {moment(end)}"
    return f"{state_of(credential, now)}{replaced}"


def _columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows below a head, each column as wide as its longest text; nothing for no rows."""
    lines = [head, *rows]
    if len(lines) == 1:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(f"{'  '.join(map(str.ljust, line, widths)).rstrip()}\n" for line in lines)


def _json(values: Iterable[dict[str, object]]) -> str:
    return f"{json.dumps(list(values), indent=2)}\n"


def _iso(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
