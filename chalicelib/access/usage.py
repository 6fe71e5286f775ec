"""Noting that a credential is used: by the day, so that an unused one can be found and revoked.

This module must never keep anybody out: a day that can't be noted is noted at the next use.
"""

import logging
from typing import Protocol

from chalicelib.access.credentials import day_of
from chalicelib.access.decision import Principal, PrincipalKind
from chalicelib.errors import RegistryError

_log = logging.getLogger("moorage.access")


class Days(Protocol):
    """The part of `AccessStore` that notes days."""

    def touch(self, credential_id: str, day: str) -> bool:
        """See AccessStore."""


def note_use(days: Days, principal: Principal, now: float) -> None:
    """Note that a credential is used, unless that is noted for this day."""
    day = day_of(now)
    if principal.kind is not PrincipalKind.CREDENTIAL or principal.source is None:
        return
    if principal.used_day is not None and principal.used_day >= day:
        return
    try:
        days.touch(principal.source, day)
    except RegistryError as error:
        _log.warning("a day of use was not noted: %s", error.message)
