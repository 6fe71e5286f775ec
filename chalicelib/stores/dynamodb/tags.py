"""Tags on DynamoDB: what each names, and the way back.

A TAG row and its TAGGED row come and go in one transaction. This module must never leave a tag to
which no way leads back from its manifest.
"""

from collections.abc import Mapping, Sequence

from chalicelib.digest import Digest
from chalicelib.registry.model import Manifest
from chalicelib.registry.outcomes import ManifestMovedError
from chalicelib.stores.dynamodb import codec
from chalicelib.stores.dynamodb.client import TransactionRefusedError
from chalicelib.stores.dynamodb.codec import CorruptItemError, Item
from chalicelib.stores.dynamodb.expressions import ConditionCheck, Delete
from chalicelib.stores.dynamodb.keys import manifest_key, tag_key, tagged_key, tagged_of
from chalicelib.stores.dynamodb.manifests import IS_DELETING, of_version, tag_names
from chalicelib.stores.dynamodb.parts import MetadataPart


class TagItems(MetadataPart):
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

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Delete a tag with its TAGGED row; False if there is no such tag.

        Raises ManifestMovedError when the tag moves meanwhile.
        """
        key = tag_key(repository, tag)
        item = self._dynamo.get(self._registry, key)
        if item is None:
            return False
        named = _named_by(item)
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

    def drop_tag(self, manifest: Manifest, tag: str) -> bool:
        """Delete a tag of a manifest that is being deleted, with its TAGGED row; see the port."""
        repository, digest = manifest.repository, manifest.digest
        key = tag_key(repository, tag)
        going = ConditionCheck(
            self._registry,
            manifest_key(repository, digest),
            IS_DELETING & of_version(manifest.version),
        )
        way_back = Delete(self._registry, tagged_key(repository, digest, tag))
        try:
            self._dynamo.transact([going, Delete(self._registry, key, tag_names(digest)), way_back])
        except TransactionRefusedError as refused:
            return 0 not in refused.met and self._drop_way_back(going, way_back)
        return True

    def _drop_way_back(self, going: ConditionCheck, way_back: Delete) -> bool:
        """Delete a TAGGED row whose tag names something else.

        While the manifest is being deleted no tag can come to name it: what the tag names now, it
        goes on naming.
        """
        try:
            self._dynamo.transact([going, way_back])
        except TransactionRefusedError:
            return False
        return True


def _named_by(item: Item) -> Digest:
    try:
        return codec.DIGEST.decode(item["digest"])
    except (KeyError, ValueError) as error:
        raise CorruptItemError(f"tag {item.get('sk')} names no digest") from error
