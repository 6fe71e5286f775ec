"""The registry's signing keys in SSM Parameter Store, and how they are replaced step by step.

A step must never be taken before every function has read the last one, nor an old key dropped
while tokens live that it signed: that would log people out. This module never shows a key.
The steps are those of chalicelib/access/signing_keys.py: `old`, `old new`, `new old`, `new`.
"""

import enum
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from chalicelib.access.signing_keys import SigningKey, SigningKeySet, SigningKeySetError
from chalicelib.access.tokens import LIFE
from moorage.common.errors import CommandError

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient
    from mypy_boto3_ssm.type_defs import ParameterHistoryTypeDef

KEY_CACHE = 300
"""Seconds for which a function uses the keys that it has read."""

LONGEST_LIFE = max(LIFE.values())
"""Seconds after which no token lives that was signed before."""

_SECURE: Final = "SecureString"


class SigningKeyError(CommandError):
    """The signing key can't be changed so; the text says nothing of a key."""


class KeyPhase(enum.Enum):
    """How far a replacement is."""

    STEADY = enum.auto()
    """One key."""
    BEGUN = enum.auto()
    """`old new`: functions get to know the new key, and the old one signs."""
    SWAPPED = enum.auto()
    """`new old`: the new key signs, and what the old one signed is still taken."""


_WAITS = {KeyPhase.STEADY: 0, KeyPhase.BEGUN: KEY_CACHE, KeyPhase.SWAPPED: KEY_CACHE + LONGEST_LIFE}
"""Seconds from a step to the next one."""


@dataclass(frozen=True, slots=True)
class StoredKeySet:
    """The keys in a parameter. `changed_at`: seconds since the epoch; `kms_key` encrypts it."""

    name: str
    keys: SigningKeySet = field(repr=False)
    phase: KeyPhase
    version: int
    changed_at: float
    kms_key: str | None = None

    @property
    def next_at(self) -> float:
        """From when on the next step harms nobody, in seconds since the epoch."""
        return self.changed_at + _WAITS[self.phase]


def moment(seconds: float) -> str:
    """Return a time since the epoch for people, rounded down: `2026-11-24 17:46 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def read(ssm: "SSMClient", name: str) -> StoredKeySet:
    """Read the keys and how far a replacement is; raises SigningKeyError, ClientError.

    Two keys alone don't tell which is older, but the parameter's history does: the second of them
    has signed before, or not yet.
    """
    history = _history(ssm, name)
    current = history[-1]
    keys = _keys_of(current)
    earlier = {_keys_of(version).signing.id for version in history[:-1] if _is_readable(version)}
    if keys.other is None:
        phase = KeyPhase.STEADY
    else:
        phase = KeyPhase.SWAPPED if keys.other.id in earlier else KeyPhase.BEGUN
    changed_at = float(current["LastModifiedDate"].timestamp())
    version, kms_key = int(current["Version"]), current.get("KeyId")
    return StoredKeySet(name, keys, phase, version, changed_at, kms_key)


def create(ssm: "SSMClient", name: str, now: float, kms_key: str | None = None) -> StoredKeySet:
    """Store a registry's first key; raises SigningKeyError if there is one, ClientError.

    `kms_key`: what encrypts it, an id, ARN or alias; None is the account's key for parameters.
    """
    keys = SigningKeySet(SigningKey.generate())
    try:
        version = _put(ssm, name, keys, kms_key, overwrite=False)
    except ssm.exceptions.ParameterAlreadyExists:
        raise SigningKeyError(
            f"the parameter {name} is there already: `moorage key show` tells its state, and"
            " `moorage key rotate` replaces the key"
        ) from None
    return StoredKeySet(name, keys, KeyPhase.STEADY, version, now, kms_key)


def ensure(ssm: "SSMClient", name: str) -> bool:
    """Store a registry's first key unless there is one; return whether it was stored.

    One conditional write: two who do this at the same moment use the same key. Raises ClientError.
    """
    try:
        create(ssm, name, time.time())
    except SigningKeyError:
        return False
    return True


def rotate(
    ssm: "SSMClient", before: StoredKeySet, now: float, *, force: bool = False
) -> StoredKeySet:
    """Take the next step and return what is then stored; raises SigningKeyError, ClientError.

    Too early is an error that says when it is time; `force` takes the step nevertheless.
    """
    if now < before.next_at and not force:
        raise SigningKeyError(
            f"the next step can be taken from {moment(before.next_at + 60)} on: {_early(before)};"
            " --force takes it now, as for a key that was stolen"
        )
    keys, phase = _next(before)
    version = _put(ssm, before.name, keys, before.kms_key, overwrite=True)
    if version != before.version + 1:
        raise SigningKeyError(
            f"somebody else changed {before.name} at the same moment: see `moorage key show`"
            " before anything else"
        )
    # Not read again: the history may lag behind what was just written.
    return StoredKeySet(before.name, keys, phase, version, now, before.kms_key)


def _next(stored: StoredKeySet) -> tuple[SigningKeySet, KeyPhase]:
    signing, other = stored.keys.signing, stored.keys.other
    if other is None:
        return SigningKeySet(signing, SigningKey.generate()), KeyPhase.BEGUN
    if stored.phase is KeyPhase.BEGUN:
        return SigningKeySet(other, signing), KeyPhase.SWAPPED
    return SigningKeySet(signing), KeyPhase.STEADY


def _early(stored: StoredKeySet) -> str:
    if stored.phase is KeyPhase.BEGUN:
        return "until then a function may not know the new key, and would refuse its tokens"
    return "until then there may be tokens that the old key signed, and they would be refused"


def _history(ssm: "SSMClient", name: str) -> "list[ParameterHistoryTypeDef]":
    pages = ssm.get_paginator("get_parameter_history").paginate(Name=name, WithDecryption=True)
    try:
        versions = [version for page in pages for version in page["Parameters"]]
    except ssm.exceptions.ParameterNotFound:
        versions = []
    if not versions:
        raise SigningKeyError(
            f"there is no parameter {name}: name it by --signing-key or $MOORAGE_SIGNING_KEY, see"
            " that AWS_REGION and AWS_PROFILE say where it is, or make a first key by"
            " `moorage key create`"
        )
    return sorted(versions, key=lambda version: int(version["Version"]))


def _keys_of(version: "ParameterHistoryTypeDef") -> SigningKeySet:
    name = version["Name"]
    if version["Type"] != _SECURE:
        raise SigningKeyError(
            f"the parameter {name} is a {version['Type']}, in the clear for all who may read"
            " parameters: delete it, and make another by `moorage key create`"
        )
    try:
        return SigningKeySet.parse(version["Value"])
    except SigningKeySetError as error:
        raise SigningKeyError(f"the parameter {name} holds no signing keys: {error}") from None


def _is_readable(version: "ParameterHistoryTypeDef") -> bool:
    try:
        _keys_of(version)
    except SigningKeyError:
        return False
    return True


def _put(
    ssm: "SSMClient", name: str, keys: SigningKeySet, kms_key: str | None, *, overwrite: bool
) -> int:
    texts = [key.text() for key in (keys.signing, keys.other) if key is not None]
    # Without it the account's default key would encrypt a new version, whatever the last one had.
    encryption: dict[str, Any] = {} if kms_key is None else {"KeyId": kms_key}
    answer = ssm.put_parameter(
        Name=name, Value=" ".join(texts), Type=_SECURE, Overwrite=overwrite, **encryption
    )
    return int(answer["Version"])
