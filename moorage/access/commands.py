"""The commands by which the owner of a registry manages who may do what: what each one prints.

A secret that was made goes to stdout alone, or to a file of mode 0600, once; what people are told
goes to stderr then. This module must never print a hash or a key, nor let an error pass as a
traceback.
"""

import argparse
import contextlib
import getpass
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

from chalicelib.access.grants import GrantError, Grants
from chalicelib.access.ports import AccessStore
from chalicelib.access.trusts import Trust, TrustError
from chalicelib.errors import RegistryError
from moorage.access import admin, signing_key, texts
from moorage.access.table import table_name
from moorage.common import secret_file
from moorage.common.aws import AWS_ERRORS, Aws, explain, quiet_sdk
from moorage.common.times import moment

_LONGEST_OWNER = 200


class UsageError(Exception):
    """The words don't go together; the text says which would."""


def run(options: argparse.Namespace) -> int:
    """Do what was asked and return the exit status: 0 done, 1 failed, 2 asked for wrongly."""
    quiet_sdk()
    try:
        _ACTS[options.spoken](options)
    except (UsageError, GrantError, TrustError) as error:
        return _fail(options, str(error), 2)
    except (admin.AdminError, signing_key.SigningKeyError, OSError) as error:
        return _fail(options, str(error), 1)
    except (RegistryError, *AWS_ERRORS) as error:
        return _fail(options, explain(error, getattr(options, "table", None)), 1)
    return 0


# access tokens


def _token_create(options: argparse.Namespace) -> None:
    grants, owner = _grants(options), _owner(options)
    now = time.time()
    expires_at = None if options.expires is None else now + options.expires
    store = _store(options)
    admin.require_free(store, options.name, now)
    made = admin.make(options.name, owner, grants, now=now, expires_at=expires_at)
    with _handed_over(options, made.token):
        admin.register(store, made.credential)
        _say(
            f"made the access token {options.name} (id {made.credential.id}): it may"
            f" {texts.granted(grants)}, and expires {texts.until(expires_at)}; it is shown this"
            " once and kept nowhere"
        )


def _token_list(options: argparse.Namespace) -> None:
    listed = admin.credentials(_store(options))
    render = texts.credential_json if options.json else texts.credential_table
    sys.stdout.write(render(listed, time.time()))
    if not listed:
        _say("there are no access tokens: `moorage token create` makes one")


def _token_revoke(options: argparse.Namespace) -> None:
    store = _store(options)
    credential = admin.find(store, options.credential, time.time())
    admin.revoke(store, credential)
    sys.stdout.write(f"revoked the access token {credential.name} (id {credential.id})\n")


def _token_rotate(options: argparse.Namespace) -> None:
    store = _store(options)
    now = time.time()
    before = admin.find(store, options.credential, now)
    admin.require_usable(before, now)
    token = admin.new_token()
    with _handed_over(options, token):
        after = admin.rotate(store, before, token, now=now, grace=options.grace)
        end = texts.replaced_until(after, now)
        works = "no longer works" if end is None else f"works until {moment(end)}"
        earlier = texts.replaced_until(before, now)
        older = "" if earlier is None else ", and the one before that no longer does"
        _say(
            f"replaced the secret of {after.name} (id {after.id}): the old one {works}{older}; the"
            f" new one expires {texts.until(after.expires_at)}"
        )


# grants


def _grant(options: argparse.Namespace) -> None:
    changes = bool(options.add or options.remove)
    if changes == bool(options.grant or options.admin):
        raise UsageError("give either --grant or --admin, for all it may do, or --add, --remove")
    store = _store(options)
    now = time.time()
    before = admin.find(store, options.credential, now)
    admin.require_usable(before, now)
    after = _changed(before.grants, options) if changes else _grants(options)
    admin.regrant(store, before, after)
    sys.stdout.write(
        f"{before.name} (id {before.id})\n"
        f"  before  {texts.granted(before.grants)}\n"
        f"  now     {texts.granted(after)}\n"
    )


def _changed(grants: Grants, options: argparse.Namespace) -> Grants:
    more = admin.with_more(grants, Grants.parse(options.add or ()))
    return admin.with_less(more, Grants.parse(options.remove or ()))


def _grants(options: argparse.Namespace) -> Grants:
    grants = Grants.parse(_granted_texts(options))
    if not grants:
        raise UsageError("it could do nothing: give --grant PATTERN:RIGHTS, or --admin")
    return grants


def _granted_texts(options: argparse.Namespace) -> list[str]:
    return [*(options.grant or ()), *(["admin"] if options.admin else ())]


# public repositories


def _public(options: argparse.Namespace) -> None:
    if options.list and options.off:
        raise UsageError("--off needs a repository")
    store = _store(options)
    if options.list:
        sys.stdout.write("".join(f"{name}\n" for name in admin.public(store)))
        return
    store.set_public(options.repository, public=not options.off)
    who = "only who is granted it" if options.off else "anybody, without logging in,"
    sys.stdout.write(f"{options.repository}: {who} may pull from it\n")


# trusts


def _trust_add(options: argparse.Namespace) -> None:
    trust = Trust.parse(
        options.name,
        issuer=options.issuer,
        audience=options.audience,
        subject=options.subject,
        grants=_granted_texts(options),
    )
    admin.add_trust(_store(options), trust, replacing=options.replace)
    sys.stdout.write(
        f"{trust.name}: whoever {trust.issuer} says is {trust.subject} may"
        f" {texts.granted(trust.grants)}\n"
    )


def _trust_list(options: argparse.Namespace) -> None:
    listed = _store(options).list_trusts()
    sys.stdout.write((texts.trust_json if options.json else texts.trust_table)(listed))
    if not listed:
        _say("there are no trusts: `moorage trust add` makes one")


def _trust_remove(options: argparse.Namespace) -> None:
    admin.remove_trust(_store(options), options.name)
    sys.stdout.write(f"removed the trust {options.name}: its logins are no longer taken\n")


# the signing key


def _key_create(options: argparse.Namespace) -> None:
    ssm = Aws(options.aws_endpoint).client("ssm")
    stored = signing_key.create(ssm, options.signing_key, time.time(), options.kms_key)
    sys.stdout.write(texts.key_text(stored))


def _key_show(options: argparse.Namespace) -> None:
    stored = signing_key.read(Aws(options.aws_endpoint).client("ssm"), options.signing_key)
    sys.stdout.write(f"{texts.key_text(stored)}{_next_step(stored)}")


def _key_rotate(options: argparse.Namespace) -> None:
    ssm = Aws(options.aws_endpoint).client("ssm")
    before = signing_key.read(ssm, options.signing_key)
    after = signing_key.rotate(ssm, before, time.time(), force=options.force)
    sys.stdout.write(f"{texts.key_text(after)}{_next_step(after)}")


def _next_step(stored: signing_key.StoredKeySet) -> str:
    when = moment(stored.next_at + 60)
    match stored.phase:
        case signing_key.Phase.STEADY:
            return "no replacement is under way: `moorage key rotate` begins one\n"
        case signing_key.Phase.BEGUN:
            return (
                "step 1 of 3 is done, the new key is known: from"
                f" {when} on, `moorage key rotate` lets it sign\n"
            )
        case signing_key.Phase.SWAPPED:
            return (
                "step 2 of 3 is done, the new key signs: from"
                f" {when} on, `moorage key rotate` drops the old one\n"
            )


def _store(options: argparse.Namespace) -> AccessStore:
    aws = Aws(options.aws_endpoint)
    options.table = table_name(aws, options.table, options.stack)
    return admin.open_store(aws.client("dynamodb"), options.table)


@contextlib.contextmanager
def _printed(token: str) -> Iterator[None]:
    yield
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()


def _handed_over(options: argparse.Namespace, token: str) -> AbstractContextManager[None]:
    """Give a new secret to its holder if the block ends well, and to nobody else."""
    if options.token_file is None:
        return _printed(token)
    return secret_file.placed(options.token_file, token)


def _owner(options: argparse.Namespace) -> str:
    owner = f"{_user()}@{socket.gethostname()}" if options.owner is None else options.owner
    if not (owner.isprintable() and 0 < len(owner) <= _LONGEST_OWNER):
        raise UsageError(
            f"the owner must be 1 to {_LONGEST_OWNER} printable characters: give --owner"
        )
    return str(owner)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user, who may have no name
        return "somebody"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _fail(options: argparse.Namespace, text: str, status: int) -> int:
    _say(f"moorage {options.spoken}: {text}")
    return status


_ACTS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "token create": _token_create,
    "token list": _token_list,
    "token revoke": _token_revoke,
    "token rotate": _token_rotate,
    "grant": _grant,
    "public": _public,
    "trust add": _trust_add,
    "trust list": _trust_list,
    "trust remove": _trust_remove,
    "key create": _key_create,
    "key show": _key_show,
    "key rotate": _key_rotate,
}
