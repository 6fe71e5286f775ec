"""Every DynamoDB key, drawn here and nowhere else. This module must never do I/O.

Table `registry` (kept):
    REPO#<name>      BLOB#<digest>                   a link
                     MANIFEST#<digest>               a manifest
                     TAG#<tag>                       the digest it names
                     TAGGED#<digest>#<tag>           one of a manifest's tags
                     REFERRER#<subject>#<digest>     what a referrers list shows
                     HISTORY#<tag>#<time>#<id>       that a tag moved or was deleted (TTL)
                     HISTORY#@<digest>#<time>#<id>   that a manifest was deleted (TTL)
                     INUSE#<source>                  what runs of it, as a source says
                     USAGE                           what it holds, where a quota covers it
    REPO#<name>#bodies
                     BLOB#<digest>                   a large manifest's link to its body
    BLOB#<digest>    RECORD                          the canonical key, size, links
    GARBAGE          <key>                           an object that is to be deleted
    COLLECTOR        STATE                           how far the collector is
    CATALOG          <name>                          a repository that holds, or held, a manifest;
                                                     with facts that the collector saw
    RULES            CURRENT                         the registry's rules
                     VERSION#<number>                the same as they were, each version
    RETENTION        STATE                           how far retention is
    INUSE            <source>                        a source of what runs, and its repositories

Table `uploads`: one item for each session, under its id.

Table `access` (kept):
    CREDENTIAL#<id>  RECORD                          a credential
    SECRET#<hash>    RECORD                          the id of the credential that has this secret
    TRUST#<name>     RECORD                          a trust in another issuer's identities
    PUBLIC#<name>    RECORD                          a repository that anybody may pull from
    CREDENTIAL       <id>                            that there is such a credential
    TRUST            <name>                          the same trust
    PUBLIC           <name>                          the same repository
    FAILURES#<key>   <window>                        how often one login failed (TTL)

What each request reads has a partition of its own, for DynamoDB bounds what one partition answers.
The partitions CREDENTIAL, TRUST and PUBLIC are lists, each row written with the item that it lists.
Version 0.1 had nothing else: there its credentials were, and there the stores still find them.

The first two have an index `sweep` each, which holds the items that need the sweeper, by the time
at which they do: sessions that are not over and cleaned up, manifests on their way in or out.
"""

import re
import zlib
from typing import NamedTuple

from chalicelib.digest import Digest

Key = dict[str, str]
"""The key attributes of an item; all of them are strings."""

SWEEP_SHARDS = tuple(f"sweep-{number}" for number in range(4))
"""The hash keys of the index `sweep`: a few, so that no one partition takes every write."""

_RECORD = "RECORD"
_REPOSITORY = "REPO#"
_CATALOG = "CATALOG"
_CREDENTIAL = "CREDENTIAL"
_IN_USE = "INUSE"
_GARBAGE = "GARBAGE"
_PUBLIC = "PUBLIC"
_RULES = "RULES"
_TRUST = "TRUST"

# Names, tags and digests are made of characters above _FLOOR and below _CEILING (see
# chalicelib.reference and chalicelib.digest), so these two bound whatever follows a prefix.
_FLOOR = "!"
_CEILING = "~"
_PLAIN = re.compile(f"[{_FLOOR}-{_CEILING}]*")
_NO_TIME = 10**10
"""Later than any time in seconds since the epoch: what is left until then falls as time passes."""
_LONGEST = 512
"""More characters than any name has; DynamoDB refuses a sort key above 1,024 bytes."""


class KeyRange(NamedTuple):
    """A range of sort keys in one partition, `first` to `last` inclusive, below one prefix."""

    partition: str
    prefix: str
    first: str
    last: str


def session_key(session_id: str) -> Key:
    """The one item of an upload session, in the table `uploads`."""
    return {"session": session_id}


def searched_key() -> Key:
    """The item, in the table `uploads`, that says how far the sweeper has looked for strays.

    No session has such an id.
    """
    return {"session": "#searched"}


def sweep_shard(name: str) -> str:
    """The shard of the sweeper's queue in which a session or manifest waits, always the same."""
    return SWEEP_SHARDS[zlib.crc32(name.encode()) % len(SWEEP_SHARDS)]


def link_key(repository: str, digest: Digest) -> Key:
    """A repository's link to a blob."""
    return _in_repository(repository, f"BLOB#{digest}")


def record_key(digest: Digest) -> Key:
    """The record of a blob, one for all repositories."""
    return {"pk": f"BLOB#{digest}", "sk": _RECORD}


def manifest_key(repository: str, digest: Digest) -> Key:
    """A manifest of a repository."""
    return _in_repository(repository, f"MANIFEST#{digest}")


def manifest_named_by(key: Key) -> tuple[str, Digest]:
    """The repository and digest of a manifest's key: what `manifest_key` was given."""
    repository, digest = key["pk"].removeprefix(_REPOSITORY), key["sk"].removeprefix("MANIFEST#")
    return repository, Digest.parse(digest)


def tag_key(repository: str, tag: str) -> Key:
    """A tag of a repository."""
    return _in_repository(repository, f"TAG#{tag}")


def tagged_key(repository: str, digest: Digest, tag: str) -> Key:
    """The row that names one tag of a manifest."""
    return _in_repository(repository, f"TAGGED#{digest}#{tag}")


def referrer_key(repository: str, subject: Digest, digest: Digest) -> Key:
    """The row of the manifest `digest` in the referrers list of `subject`."""
    return _in_repository(repository, f"REFERRER#{subject}#{digest}")


def history_place(name: str, at: float, change_id: str) -> str:
    """Where a change of a tag, or of `@` and a digest, stands in history: the latest first."""
    return f"{name}#{_NO_TIME - at:017.6f}#{change_id}"


def history_key(repository: str, place: str) -> Key:
    """The row of one change of a tag."""
    return _in_repository(repository, f"HISTORY#{place}")


def catalog_key(repository: str) -> Key:
    """The row of a repository in the catalog."""
    return {"pk": _CATALOG, "sk": repository}


def garbage_key(key: str) -> Key:
    """The row of an object that is to be deleted."""
    return {"pk": _GARBAGE, "sk": key}


def all_garbage() -> KeyRange:
    """The rows of all objects that are to be deleted."""
    return _span(_GARBAGE, "", None)


def collector_key() -> Key:
    """The item that says how far the collector is."""
    return {"pk": "COLLECTOR", "sk": "STATE"}


def home_of(key: Key) -> str | None:
    """The repository, or the namespace of its bodies, that has a key; None if none has."""
    partition = key["pk"]
    return partition.removeprefix(_REPOSITORY) if partition.startswith(_REPOSITORY) else None


def kind_of(key: Key) -> str:
    """What kind of row a key of the table `registry` is: of a repository's, what its key begins by.

    RECORD for a record, else the partition's name.
    """
    if home_of(key) is not None:
        return key["sk"].partition("#")[0]
    return _RECORD if key["sk"] == _RECORD else key["pk"]


def scan_place(key: Key) -> str:
    """A key as one text: no partition has a space in its name."""
    return f"{key['pk']} {key['sk']}"


def key_at(place: str) -> Key:
    """The key of which `scan_place` has made this text."""
    partition, _, sort = place.partition(" ")
    return {"pk": partition, "sk": sort}


def manifests_after(repository: str, after: Digest | None) -> KeyRange:
    """All manifests of a repository whose digests come after `after`, which need not exist."""
    text = None if after is None else str(after)
    return _span(f"{_REPOSITORY}{repository}", "MANIFEST#", text)


def links_after(repository: str, after: Digest | None) -> KeyRange:
    """All links of a repository whose digests come after `after`, which need not exist."""
    text = None if after is None else str(after)
    return _span(f"REPO#{repository}", "BLOB#", text)


def rules_key() -> Key:
    """The rules in force."""
    return {"pk": _RULES, "sk": "CURRENT"}


def rules_version(version: int) -> Key:
    """One version of the rules."""
    return {"pk": _RULES, "sk": f"VERSION#{version:08d}"}


def in_use_key(repository: str, source: str) -> Key:
    """What runs of a repository, as a source says."""
    return _in_repository(repository, f"{_IN_USE}#{source}")


def in_use_of(repository: str) -> KeyRange:
    """What runs of a repository, as all sources say."""
    return _span(f"{_REPOSITORY}{repository}", f"{_IN_USE}#", None)


def usage_key(repository: str) -> Key:
    """What a repository holds that a quota covers."""
    return _in_repository(repository, "USAGE")


def links_of(repository: str) -> KeyRange:
    """All links of a repository."""
    return _span(f"REPO#{repository}", "BLOB#", None)


def use_source_key(source: str) -> Key:
    """A source of what runs."""
    return {"pk": _IN_USE, "sk": source}


def use_sources() -> KeyRange:
    """All sources of what runs."""
    return _span(_IN_USE, "", None)


def retention_key() -> Key:
    """How far retention is."""
    return {"pk": "RETENTION", "sk": "STATE"}


def tags_after(repository: str, after: str | None, prefix: str = "") -> KeyRange:
    """All tags of a repository that come after `after`, which need not exist nor be a tag.

    Of those that begin with `prefix` alone, which may be any text, too.
    """
    return _begun(_span(f"{_REPOSITORY}{repository}", "TAG#", after), prefix)


def tagged_of(repository: str, digest: Digest) -> KeyRange:
    """The rows of all tags of one manifest."""
    return _span(f"{_REPOSITORY}{repository}", f"TAGGED#{digest}#", None)


def referrers_after(repository: str, subject: Digest, after: Digest | None) -> KeyRange:
    """All referrers of a subject whose digests come after `after`, which need not exist."""
    text = None if after is None else str(after)
    return _span(f"{_REPOSITORY}{repository}", f"REFERRER#{subject}#", text)


def history_after(repository: str, name: str | None, after: str | None) -> KeyRange:
    """All changes of a name of `history_place`, or of all (None), behind the place `after`."""
    span = _span(f"{_REPOSITORY}{repository}", "HISTORY#", after)
    if name is None:
        return span
    own = f"{span.prefix}{name}#"
    return span._replace(first=max(span.first, own + _FLOOR), last=own + _CEILING)


def repositories_after(after: str | None, prefix: str = "") -> KeyRange:
    """All repositories of the catalog whose names come after `after`, which need not exist.

    Of those that begin with `prefix` alone, which a client may have written: any text.
    """
    return _begun(_span(_CATALOG, "", after), prefix)


def credential_key(credential_id: str) -> Key:
    """A credential, in the table `access`, as all of the following."""
    return {"pk": f"{_CREDENTIAL}#{credential_id}", "sk": _RECORD}


def listed_credential(credential_id: str) -> Key:
    """The row of a credential in the list of all."""
    return {"pk": _CREDENTIAL, "sk": credential_id}


def secret_key(secret_hash: str) -> Key:
    """The item that names the credential of a secret."""
    return {"pk": f"SECRET#{secret_hash}", "sk": _RECORD}


def public_key(repository: str) -> Key:
    """The item that says that anybody may pull from a repository."""
    return {"pk": f"{_PUBLIC}#{repository}", "sk": _RECORD}


def listed_public(repository: str) -> Key:
    """The row of such a repository in the list of all."""
    return {"pk": _PUBLIC, "sk": repository}


def trust_key(name: str) -> Key:
    """A trust."""
    return {"pk": f"{_TRUST}#{name}", "sk": _RECORD}


def listed_trust(name: str) -> Key:
    """The row of a trust in the list of all, which has the whole trust."""
    return {"pk": _TRUST, "sk": name}


def failures_key(key: str, window: int) -> Key:
    """The counter of one window."""
    return {"pk": f"FAILURES#{key}", "sk": str(window)}


def credentials_after(after: str | None) -> KeyRange:
    """All credentials whose ids come after `after`, which need not exist."""
    return _span(_CREDENTIAL, "", after)


def all_trusts() -> KeyRange:
    """All trusts."""
    return _span(_TRUST, "", None)


def public_after(after: str | None) -> KeyRange:
    """All public repositories whose names come after `after`, which need not exist."""
    return _span(_PUBLIC, "", after)


def public_between(first: str, last: str) -> KeyRange:
    """All public repositories whose names are among the names from `first` to `last`, inclusive."""
    return KeyRange(_PUBLIC, "", first, last)


def _in_repository(repository: str, sort: str) -> Key:
    return {"pk": f"{_REPOSITORY}{repository}", "sk": sort}


def _span(partition: str, prefix: str, after: str | None) -> KeyRange:
    return KeyRange(partition, prefix, prefix + _above(after or ""), prefix + _CEILING)


def _begun(span: KeyRange, prefix: str) -> KeyRange:
    """Of a range of names those that begin with a text."""
    begun = prefix[:_LONGEST]
    # No name is below its own beginning; one with a character that no name has begins none.
    last = f"{span.prefix}{begun}{_CEILING}" if _PLAIN.fullmatch(begun) else ""
    return span._replace(first=max(span.first, span.prefix + begun), last=last)


def _above(after: str) -> str:
    """A text below every name that is greater than `after`, and above every other name.

    `after` comes from a client and may be any text: no name holds what is left out here, so
    whether a name is greater is settled before it.
    """
    text = after[:_LONGEST]
    match = _PLAIN.match(text)
    plain = match.group() if match else ""
    rest = text[len(plain) :]
    # Names that go on from `plain` come after a `rest` of spaces and controls, before any other.
    return plain + (_CEILING if rest > _CEILING else _FLOOR)
