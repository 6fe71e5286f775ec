"""`moorage edge`: whose keys it has, and that it reads them again."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.registry.tickets import FixedKeys
from moorage.access import edge_keys
from moorage.edge.run import LocalStore, ticket_keys

if TYPE_CHECKING:
    from tests.emulators.backends import Backend


def words(*keys: bytes) -> str:
    """Return keys as the store has them."""
    return " ".join(base64.urlsafe_b64encode(key).decode().rstrip("=") for key in keys)


def test_the_store_reads_its_keys_again_after_a_minute() -> None:
    """They may be rotated; another name than theirs is not there."""
    now, held = [0.0], [b"a" * 32]
    store = LocalStore(lambda: tuple(held), lambda: now[0])
    assert store.get("keys") == words(b"a" * 32)
    held.append(b"b" * 32)
    assert store.get("keys") == words(b"a" * 32)
    now[0] = 61
    assert store.get("keys") == words(b"a" * 32, b"b" * 32)
    assert store.get("others") is None


def test_an_open_registrys_keys_are_those_of_its_gateway(strict_moto: Backend) -> None:
    """Made of the names of bucket and table, as chalicelib/wiring does."""
    names = strict_moto.fresh().environment
    keys = FixedKeys.of(names["MOORAGE_BUCKET"], names["MOORAGE_UPLOADS_TABLE"]).current()
    assert ticket_keys(names)() == keys


def test_a_closed_registrys_keys_come_from_its_signing_keys(strict_moto: Backend) -> None:
    """Both of them while they are replaced; without a parameter there are none."""
    backend = strict_moto.fresh()
    name = f"/moorage/{backend.bucket}/signing-key"
    environment = {**backend.environment, "MOORAGE_AUTH": "on", "MOORAGE_SIGNING_KEY": name}
    assert ticket_keys(environment)() == ()
    stored = SigningKeySet(SigningKey.generate(), SigningKey.generate())
    text = " ".join(key.text() for key in (stored.signing, stored.other) if key)
    backend.client("ssm").put_parameter(Name=name, Value=text, Type="SecureString")
    assert ticket_keys(environment)() == stored.ticket_keys()
    assert edge_keys.text_of(stored) == words(*stored.ticket_keys())
