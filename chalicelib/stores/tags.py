"""Tags on DynamoDB: what each names, and the way back.

A TAG row and its TAGGED row come and go in one transaction. This module must never leave a tag to
which no way leads back from its manifest.
"""

from collections.abc import Mapping, Sequence

from chalicelib.digest import Digest
from chalicelib.registry.ports import ManifestMovedError
from chalicelib.stores import codec
from chalicelib.stores.codec import CorruptItemError, Item
from chalicelib.stores.dynamodb import TransactionRefusedError
from chalicelib.stores.expressions import Check, Clause, Delete
from chalicelib.stores.keys import tag_key, tagged_key, tagged_of
from chalicelib.stores.manifests import tag_names
from chalicelib.stores.parts import MetadataPart


def tag_does_not_name(digest: Digest) -> Clause:
    """The tag names another manifest, or is not there."""
    return Clause("NOT (#digest = :other)", {"other": codec.DIGEST.encode(digest)})


class Tags(MetadataPart):
    """The part of `MetadataStore` that knows tags."""

    def get_tags(self, repository: str, tags: Sequence[str]) -> Mapping[str, Digest]:
        """Read the digests that tags name; absent ones are left out."""
        names = {tag_key(repository, tag)["sk"]: tag for tag in tags}
        keys = [tag_key(repository, tag) for tag in tags]
        items = self._dynamo.get_many(self._registry, keys)
        return {names[item["sk"]["S"]]: _named_by(item) for item in items}

    def tags_of(self, repository: str, digest: Digest) -> Sequence[str]:
        """All tags that have a TAGGED row for this digest."""
        span = tagged_of(repository, digest)
        rows = self._dynamo.query(self._registry, span)
        return [row["sk"]["S"].removeprefix(span.prefix) for row in rows]

    def delete_tag(self, repository: str, tag: str, digest: Digest | None = None) -> bool:
        """Delete a tag with its TAGGED row, only if it names `digest` (any, if None).

        False if the tag is absent or names another digest; the TAGGED row of `digest` is deleted
        all the same. Raises ManifestMovedError when the tag moves meanwhile.
        """
        key = tag_key(repository, tag)
        item = self._dynamo.get(self._registry, key)
        named = None if item is None else _named_by(item)
        if named is None or digest not in {None, named}:
            if digest is not None:
                self._drop_way_back(repository, tag, digest)
            return False
        way_back = tagged_key(repository, named, tag)
        try:
            self._dynamo.transact(
                [
                    Delete(self._registry, key, tag_names(named)),
                    Delete(self._registry, way_back),
                ]
            )
        except TransactionRefusedError as refused:
            # Gone since it was read: this very deletion took effect, or another one did.
            if refused.met[0] is not None:
                raise ManifestMovedError(f"tag {tag} has moved") from refused
        return True

    def _drop_way_back(self, repository: str, tag: str, digest: Digest) -> None:
        """Delete a TAGGED row that no TAG row answers to, unless one has come by now."""
        try:
            self._dynamo.transact(
                [
                    Check(self._registry, tag_key(repository, tag), tag_does_not_name(digest)),
                    Delete(self._registry, tagged_key(repository, digest, tag)),
                ]
            )
        except TransactionRefusedError as refused:
            raise ManifestMovedError(f"tag {tag} has moved") from refused


def _named_by(item: Item) -> Digest:
    try:
        return codec.DIGEST.decode(item["digest"])
    except (KeyError, ValueError) as error:
        raise CorruptItemError(f"tag {item.get('sk')} names no digest") from error
