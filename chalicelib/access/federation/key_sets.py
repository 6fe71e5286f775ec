"""The public keys of an issuer, read from the JSON Web Key Set that it publishes.

A key's own type says which algorithm it is for: RS256 for RSA, ES256 for the curve P-256. This
module must never take another kind of key, least of all a symmetric one, nor do I/O.
Source: RFC 7517, RFC 7518 (6.2, 6.3).
"""

from collections.abc import Mapping
from typing import Any

import jwt

from chalicelib.strict_json import JsonInvalidError, read_object

KeySet = Mapping[str, jwt.PyJWK]
"""Keys, each bound to its algorithm, by their ids (`kid`); a key without an id has the id ''."""

RSA_BITS = range(2048, 8193)
"""Sizes of RSA keys that are taken: below, they can be broken; above, each signature is work."""

_MEMBERS = {
    # Only these are handed on: no other member can make a private key of it.
    "RS256": ("kty", "n", "e"),
    "ES256": ("kty", "crv", "x", "y"),
}


class KeySetError(ValueError):
    """A text that is no key set, or one without a key that can be used; the message says which."""


def parse_key_set(body: bytes) -> KeySet:
    """Read a key set; keys of other kinds, and for other uses, are left out.

    Raises KeySetError, also where no key is left, or two keys have one id.
    """
    try:
        document = read_object(body)
    except JsonInvalidError as error:
        raise KeySetError(f"this is no key set: {error}") from None
    rows = document.get("keys")
    if not isinstance(rows, list):
        raise KeySetError("a key set has a list of `keys`")
    found: dict[str, jwt.PyJWK] = {}
    for row in rows:
        if not isinstance(row, dict) or (key := _key(row)) is None:
            continue
        key_id = row.get("kid", "")
        if not isinstance(key_id, str) or key_id in found:
            raise KeySetError("two keys have one id, or a key has an id that is no text")
        found[key_id] = key
    if not found:
        raise KeySetError("no key for RS256 or ES256 is in the key set")
    return found


def _key(row: Mapping[str, Any]) -> jwt.PyJWK | None:
    algorithm = _algorithm(row)
    if algorithm is None:
        return None
    try:
        key = jwt.PyJWK({name: row[name] for name in _MEMBERS[algorithm]}, algorithm)
    except (jwt.PyJWTError, KeyError, ValueError):
        return None
    is_weak = algorithm == "RS256" and key.key.key_size not in RSA_BITS
    return None if is_weak else key


def _algorithm(row: Mapping[str, Any]) -> str | None:
    """Return the algorithm of a key; None for another kind of key, or one for another use."""
    match row:
        case {"kty": "RSA"}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256"}:
            algorithm = "ES256"
        case _:
            return None
    operations = row.get("key_ops", ["verify"])
    is_for_this = (
        row.get("alg", algorithm) == algorithm
        and row.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
    )
    return algorithm if is_for_this else None
