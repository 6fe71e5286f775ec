"""Tickets: read by their own owner alone, with the keys that there are, and to the letter."""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

import pytest

from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.digest import Algorithm
from chalicelib.registry.session import Owner
from chalicelib.registry.tickets import FixedKeys, Purpose, Tickets, UploadTicket
from chalicelib.stores.aws.ssm_keys import DerivedTicketKeys

OLD, NEW = SigningKey.generate(), SigningKey.generate()
SESSION = "019ad3f1-6a40-7000-8000-000000000001"
TICKET = UploadTicket(SESSION, 1_764_509_999, Algorithm.SHA512)
OWNER = Owner("team/app", "ci")
KEYS = FixedKeys.of("bucket", "table")
TICKETS = Tickets(KEYS)


@dataclass
class RotatedKeys:
    """Signing keys that `renew` replaces by the next ones, once."""

    held: SigningKeySet
    newer: list[SigningKeySet] = field(default_factory=list)

    def current(self) -> SigningKeySet:
        """Return the keys as they were read last."""
        return self.held

    def renew(self) -> bool:
        """Read them again."""
        if not self.newer:
            return False
        self.held = self.newer.pop()
        return True


def tickets_of(held: SigningKeySet, *newer: SigningKeySet) -> Tickets:
    """Return what reads and writes tickets with signing keys."""
    source = RotatedKeys(held, list(newer))
    return Tickets(DerivedTicketKeys(lambda: source))


def test_the_mac_of_a_ticket_equals_the_one_that_the_edge_computes() -> None:
    """The module documents its text, hash and form for the edge."""
    text = f"{SESSION}~1764509999~sha512~{TICKETS.write_upload(OWNER, TICKET).split('~')[3]}"
    message = f"moorage upload\nteam/app\n{text}".encode()
    mac = base64.urlsafe_b64encode(hmac.new(KEYS.keys[0], message, hashlib.sha256).digest())
    assert TICKETS.write_upload(OWNER, TICKET) == f"{text}~{mac.decode()[:-1]}"
    assert len(text.split("~")[3]) == 22
    assert "ci" not in text


def test_a_ticket_is_valid_only_for_its_owner() -> None:
    """It is invalid for another repository, principal or purpose."""
    written = TICKETS.write_upload(OWNER, TICKET)
    assert TICKETS.read_upload(OWNER, written) == TICKET
    assert TICKETS.read_upload(Owner("team/other", "ci"), written) is None
    assert TICKETS.read_upload(Owner("team/app", "dev"), written) is None
    assert TICKETS.read(Purpose.UPLOAD, "team/app", written) == written.split("~")[:-1]
    assert TICKETS.read(Purpose.DOWNLOAD, "team/app", written) is None
    assert Tickets(FixedKeys.of("another", "table")).read_upload(OWNER, written) is None


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("change", ["", "x", "\u00e9", "~", "\n", "=="])
def test_a_changed_ticket_is_invalid(place: int, change: str) -> None:
    """In each field, and in the MAC."""
    fields = TICKETS.write_upload(OWNER, TICKET).split("~")
    fields[place] = fields[place][:-1] + change
    assert TICKETS.read_upload(OWNER, "~".join(fields)) is None


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (SESSION, "1764509999", "sha512"),
        (SESSION, "", "sha512", "owner"),
        (SESSION, "0x1", "sha512", "owner"),
        (SESSION, "9" * 13, "sha512", "owner"),
        (SESSION, "1764509999", "sha512", "owner", "more"),
    ],
)
def test_a_ticket_of_another_form_is_invalid_for_an_upload(fields: tuple[str, ...]) -> None:
    """Its MAC is right."""
    assert TICKETS.read_upload(OWNER, TICKETS.write(Purpose.UPLOAD, "team/app", *fields)) is None


@pytest.mark.parametrize("text", ["", "~", "~~~~", SESSION, "\u00e9~\u00e9", "~" * 300])
def test_a_text_that_is_no_ticket_is_invalid(text: str) -> None:
    """Any text but a ticket is refused."""
    assert TICKETS.read_upload(OWNER, text) is None


def test_a_ticket_outlives_the_steps_in_which_its_key_is_replaced() -> None:
    """A process that has older keys reads them again; with a key that is gone nothing is read."""
    by_old = tickets_of(SigningKeySet(OLD)).write_upload(OWNER, TICKET)
    by_new = tickets_of(SigningKeySet(NEW)).write_upload(OWNER, TICKET)
    for both in (SigningKeySet(OLD, NEW), SigningKeySet(NEW, OLD)):
        assert tickets_of(both).read_upload(OWNER, by_old) == TICKET
        assert tickets_of(both).read_upload(OWNER, by_new) == TICKET
        assert tickets_of(both).write_upload(OWNER, TICKET) in {by_old, by_new}
    behind = tickets_of(SigningKeySet(OLD), SigningKeySet(OLD, NEW))
    assert behind.read_upload(OWNER, by_new) == TICKET
    assert tickets_of(SigningKeySet(NEW)).read_upload(OWNER, by_old) is None


def test_the_keys_of_tickets_reveal_no_signing_key() -> None:
    """They are derived, because the edge has them too."""
    keys = SigningKeySet(NEW, OLD).ticket_keys()
    assert len(set(keys)) == 2
    assert not {NEW.secret, OLD.secret} & set(keys)
    assert {len(key) for key in keys} == {32}
