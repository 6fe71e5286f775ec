"""cosign and notation: an image is signed and attested, and what the registry gives back verifies.

Every key is made for the flow; no transparency log, time-stamp authority or network is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients.flows.place import USER
from tests.clients.images import root_of
from tests.clients.tools import ClientError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.flows.place import Place

_TRUST_POLICY = {
    "version": "1.0",
    "trustPolicies": [
        {
            "name": "all",
            "registryScopes": ["*"],
            "signatureVerification": {"level": "strict"},
            "trustStores": ["ca:flow"],
            "trustedIdentities": ["*"],
        }
    ],
}


def sign_with_notation(place: Place, layout: Path) -> None:
    """Sign an image twice, by its tag and by its digest; it verifies, and an unsigned one doesn't.

    Notation keeps logins in the desktop's key chain only, so it gets this one by its environment.
    """
    login = {}
    if place.password is not None:
        login = {"NOTATION_USERNAME": USER, "NOTATION_PASSWORD": place.password}

    def notation(command: str, reference: str) -> str:
        words = (command, "--insecure-registry", reference)
        return place.workspace.run("notation", *words, more=login)

    place.workspace.run("notation", "cert", "generate-test", "flow", "--default")
    policy = place.workspace.folder / ".config" / "notation" / "trustpolicy.json"
    policy.write_text(json.dumps(_TRUST_POLICY))
    by_tag, by_digest = f"{place.name}:v1", f"{place.name}@{root_of(layout)['digest']}"
    place.push(layout, "v1")
    with pytest.raises(ClientError, match="no signature is associated"):
        notation("verify", by_tag)

    for reference in (by_tag, by_digest):
        notation("sign", reference)

    for reference in (by_tag, by_digest):
        notation("verify", reference)
    assert notation("list", by_digest).count("sha256:") == 3  # the image and its two signatures


@dataclass(frozen=True)
class Cosign:
    """A cosign and the form in which it keeps what it makes."""

    program: str
    writing: tuple[str, ...] = ()
    reading: tuple[str, ...] = ()
    attests: bool = True
    """Whether the form is also one of attestations."""

    def sign_and_attest(self, place: Place, layout: Path) -> None:
        """Sign and attest an image; both verify, by another key neither does."""
        own, other = (_Keys(place, self.program, name) for name in ("own", "other"))
        reference = f"{place.name}@{root_of(layout)['digest']}"
        place.push(layout, "v1")
        if place.password is not None:
            place.workspace.run(
                *(self.program, "login", place.host, "--username", USER, "--password-stdin"),
                given=place.password,
            )
        offline = ("--tlog-upload=false", "--use-signing-config=false", "--yes", *self.writing)
        own.run("sign", *offline, "--key", own.private, reference)
        checks: list[tuple[str, ...]] = [("verify",)]
        if self.attests:
            kind = ("--type", "custom")
            predicate = place.workspace.fresh("predicate.json")
            predicate.write_text(json.dumps({"builder": place.repository}))
            attested = (*kind, "--predicate", str(predicate), "--key", own.private)
            own.run("attest", *offline, *attested, reference)
            checks.append(("verify-attestation", *kind))

        for check in checks:
            words = (*check, "--insecure-ignore-tlog", *self.reading, "--key")
            assert own.run(*words, own.public, reference)
            with pytest.raises(ClientError):
                own.run(*words, other.public, reference)


class _Keys:
    """A pair of keys."""

    def __init__(self, place: Place, program: str, name: str) -> None:
        self._place = place
        self._program = program
        prefix = place.workspace.fresh(name)
        self.private, self.public = f"{prefix}.key", f"{prefix}.pub"
        self.run("generate-key-pair", "--output-key-prefix", str(prefix))

    def run(self, *words: str) -> str:
        """Run cosign with the keys' password, which is empty; cosign 2 calls referrers a trial."""
        more = {"COSIGN_PASSWORD": "", "COSIGN_EXPERIMENTAL": "1"}
        return self._place.workspace.run(self._program, *words, more=more)
