"""The commands about access: each method does one command completely, with AWS.

If AWS refuses, or a command can't be done, it raises CommandError. A new secret is returned, or
written to a file of mode 0600, once. This module must never log a secret, nor return a hash or a
key.
"""

import contextlib
import getpass
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chalicelib.access.credentials import CredentialNameError, generate, parse_credential_name
from chalicelib.access.grants import GrantError, Grants
from chalicelib.access.ports import AccessStore
from chalicelib.access.trusts import Trust, TrustError
from chalicelib.errors import NameInvalidError
from chalicelib.reference import parse_name
from moorage.access import admin, edge_keys, signing_key, texts
from moorage.access.signing_key import StoredKeySet
from moorage.common.aws import Aws, explained
from moorage.common.data import DataNames
from moorage.common.errors import CommandError, UsageError
from moorage.common.listing import Listing
from moorage.common.secret_file import placed

if TYPE_CHECKING:
    from mypy_boto3_ssm.client import SSMClient

_EXPORT = "AccessTableName"
_LONGEST_OWNER = 200


@dataclass(frozen=True, slots=True)
class AccessTable:
    """The table that holds who may do what. Every act on it raises CommandError.

    Without a name, `table`, it is the one that the data stack `stack` exports; at an `endpoint`,
    which is an emulator's, it is the one that a local registry has. A text that an act returns is
    the message for a person.
    """

    stack: str
    table: str | None = None
    endpoint: str | None = None

    def create_token(
        self,
        name: str,
        *,
        grants: Sequence[str],
        life: float | None,
        owner: str | None = None,
        token_file: Path | None = None,
    ) -> tuple[str, str | None]:
        """Make an API token that lives for `life` seconds (None: for ever); keep its hash.

        Return the message, and the secret if no file got it. The owner is by default the user who
        runs this. Raises OSError too; after an error there is no token.
        """
        with _readable():
            parse_credential_name(name)
        granted, owner, now = _grants(grants), _owner(owner), time.time()
        expires_at = None if life is None else now + life
        with self._opened() as store:
            admin.require_free(store, name, now)
            token = generate()
            credential = admin.credential_of(
                token, name, owner, granted, now=now, expires_at=expires_at
            )
            with placed(token_file, token):
                admin.register(store, credential)
        message = (
            f"made the API token {name} (id {credential.id}): it may"
            f" {texts.granted(granted)}, and expires {texts.until(expires_at)}; it is shown this"
            " once and kept nowhere"
        )
        return message, None if token_file else token

    def list_tokens(self) -> Listing:
        """Return all API tokens by name, without their secrets."""
        with self._opened() as store:
            return texts.tokens(admin.credentials(store), time.time())

    def revoke_token(self, wanted: str) -> str:
        """End the API token of a name or id."""
        with self._opened() as store:
            credential = admin.find(store, wanted, time.time())
            admin.revoke(store, credential)
        return f"revoked the API token {credential.name} (id {credential.id})"

    def rotate_token(
        self, wanted: str, *, grace: float, token_file: Path | None = None
    ) -> tuple[str, str | None]:
        """Replace the secret of an API token; the old one works for `grace` seconds more.

        Return the message, and the new secret if no file got it. Raises OSError too; after an
        error the old one stays.
        """
        now, token = time.time(), generate()
        with self._opened() as store:
            before = admin.find(store, wanted, now)
            admin.require_usable(before, now)
            with placed(token_file, token):
                after = admin.rotate(store, before, token, now=now, grace=grace)
        return texts.rotated(before, after, now), None if token_file else token

    def change_grants(
        self, wanted: str, grants: Sequence[str], *, add: Sequence[str], remove: Sequence[str]
    ) -> str:
        """Replace all grants of an API token; without `grants`, add some and remove some."""
        now = time.time()
        with _readable():
            all_of_them, more, less = map(Grants.parse, (grants, add, remove))
        with self._opened() as store, _readable():
            before = admin.find(store, wanted, now)
            admin.require_usable(before, now)
            changed = admin.with_less(admin.with_more(before.grants, more), less)
            after = all_of_them or changed
            admin.regrant(store, before, after)
        return (
            f"{before.name} (id {before.id})\n"
            f"  before  {texts.granted(before.grants)}\n"
            f"  now     {texts.granted(after)}"
        )

    def set_public(self, repository: str, *, public: bool) -> str:
        """Let anybody pull from a repository, or no longer."""
        with _readable():
            parse_name(repository)
        with self._opened() as store:
            store.set_public(repository, public=public)
        who = "anybody, without logging in," if public else "only who is granted it"
        return f"{repository}: {who} may pull from it"

    def list_public(self) -> Listing:
        """Return the repositories that anybody may pull from."""
        with self._opened() as store:
            return texts.repositories(admin.public(store))

    def add_trust(  # noqa: PLR0913 - what a trust has
        self,
        name: str,
        *,
        grants: Sequence[str],
        issuer: str,
        audience: str | None,
        subject: str,
        replace: bool,
    ) -> str:
        """Let in identities of an issuer; see Trust."""
        with _readable():
            trust = Trust.parse(
                name, issuer=issuer, audience=audience or "", subject=subject, grants=grants
            )
        with self._opened() as store:
            admin.add_trust(store, trust, replacing=replace)
        return f"{name}: {subject}, by the word of {issuer}, may {texts.granted(trust.grants)}"

    def list_trusts(self) -> Listing:
        """Return the trusts."""
        with self._opened() as store:
            return texts.trusts(store.list_trusts())

    def remove_trust(self, name: str) -> str:
        """End a trust and the logins that it let in."""
        with self._opened() as store:
            admin.remove_trust(store, name)
        return f"removed the trust {name}: its logins are no longer taken"

    @contextlib.contextmanager
    def _opened(self) -> Iterator[AccessStore]:
        with explained():
            aws = Aws(self.endpoint)
            table = self.table or table_name(aws, self.stack, _EXPORT, DataNames().access_table)
            client = aws.client("dynamodb")
        with explained(table):
            yield admin.open_store(client, table)


@dataclass(frozen=True, slots=True)
class SigningKeyParameter:
    """The parameter that holds the signing keys, at an emulator's `endpoint` if one is given.

    Every act on it is that of moorage.access.signing_key, and raises CommandError.
    """

    name: str
    endpoint: str | None = None

    def create(self, kms_key: str | None) -> StoredKeySet:
        """Store a registry's first signing key."""
        with self._opened() as ssm:
            return signing_key.create(ssm, self.name, time.time(), kms_key)

    def show(self) -> StoredKeySet:
        """Return the signing keys' state."""
        with self._opened() as ssm:
            return signing_key.read(ssm, self.name)

    def rotate(self, *, force: bool) -> StoredKeySet:
        """Take the next step of replacing the key."""
        with self._opened() as ssm:
            before = signing_key.read(ssm, self.name)
            # Looked up first: without the right to do that, nothing may change.
            edge = self._edge()
            stored = signing_key.rotate(ssm, before, time.time(), force=force)
            if edge is not None:
                edge_keys.follow(Aws().client("cloudfront-keyvaluestore"), edge, stored.keys)
            return stored

    def _edge(self) -> str | None:
        if self.endpoint is not None:  # an emulator's registry has its edge in `moorage local`
            return None
        return edge_keys.arn_of(Aws().client("cloudformation"), self.name)

    @contextlib.contextmanager
    def _opened(self) -> "Iterator[SSMClient]":
        with explained():
            yield Aws(self.endpoint).client("ssm")


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Turn the errors of names, grants and trusts that can't be read into a UsageError."""
    try:
        yield
    except (CredentialNameError, GrantError, NameInvalidError, TrustError) as error:
        raise UsageError(str(error)) from None


def table_name(aws: Aws, stack: str, export: str, local: str) -> str:
    """Return the name of a table: a local registry's, or what the data stack exports."""
    if aws.endpoint is not None:
        return local
    wanted = f"{stack}-{export}"
    client = aws.client("cloudformation")
    for page in client.get_paginator("list_exports").paginate():
        for each in page["Exports"]:
            if each["Name"] == wanted:
                return str(each["Value"])
    raise CommandError(
        f"CloudFormation has no export {wanted} in {client.meta.region_name}: name the data stack"
        " by --stack or the table by --table, or set AWS_REGION and AWS_PROFILE to where it is"
    )


@dataclass(frozen=True, slots=True)
class DataPlace:
    """Where a registry's data is: names that are given, else as `table_name` finds them.

    `endpoint` is an emulator's; there the names are those of a local registry.
    """

    stack: str
    bucket: str | None = None
    registry_table: str | None = None
    uploads_table: str | None = None
    endpoint: str | None = None

    def names(self, aws: Aws) -> DataNames:
        """Return all names; that of the table `access`, which nobody needs, is a local one's."""
        local = DataNames()

        def name(given: str | None, export: str, otherwise: str) -> str:
            return given or table_name(aws, self.stack, export, otherwise)

        return DataNames(
            name(self.bucket, "BucketName", local.bucket),
            name(self.registry_table, "RegistryTableName", local.registry_table),
            name(self.uploads_table, "UploadsTableName", local.uploads_table),
        )


def _grants(wanted: Sequence[str]) -> Grants:
    with _readable():
        grants = Grants.parse(wanted)
    if not grants:
        raise UsageError("it could do nothing: give --grant PATTERN:RIGHTS, or --admin")
    return grants


def _owner(given: str | None) -> str:
    owner = f"{_user()}@{socket.gethostname()}" if given is None else given
    if not (owner.isprintable() and 0 < len(owner) <= _LONGEST_OWNER):
        raise UsageError(
            f"the owner must be 1 to {_LONGEST_OWNER} printable characters: give --owner"
        )
    return owner


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user, who may have no name
        return "somebody"
