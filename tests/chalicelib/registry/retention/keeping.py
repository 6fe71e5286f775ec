"""A registry in memory with images of some age, which the tests of retention run over."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Digest
from chalicelib.reference import Tag
from chalicelib.registry.manifests.pushing import ManifestPush
from chalicelib.registry.model import InUse, ManifestState
from chalicelib.registry.service import Limits
from chalicelib.rules.document import StoredRules
from chalicelib.stores.dynamodb.items import IN_USE, STORED_RULES, manifest_item
from chalicelib.stores.dynamodb.keys import in_use_key, manifest_key, rules_key
from tests.chalicelib.registry.retention.repositories import DAY, IMAGE, INDEX, NAME
from tests.support.registries import REGISTRY, MemoryRegistry, registry_in_memory
from tests.support.values import NOW

if TYPE_CHECKING:
    from chalicelib.registry.model import Manifest
    from chalicelib.registry.retention.run import Retention, RetentionReport
    from chalicelib.stores.dynamodb.codec import Item
    from chalicelib.stores.dynamodb.keys import Key

CI_RULE = {
    "name": "CI",
    "repositories": ["team/*"],
    "tags": ["pr-*"],
    "untagged": True,
    "expire": {"days_since_push": 14},
}
KEEP_RULE = {"name": "releases", "repositories": ["**"], "tags": ["v*"], "keep": "always"}


@dataclass
class Kept:
    """A registry, and what a test does to it."""

    memory: MemoryRegistry
    bodies: dict[str, bytes]

    @property
    def retention(self) -> Retention:
        """What is tested."""
        return self.memory.registry.retention

    def push(
        self,
        name: str,
        *tags: str,
        repository: str = NAME,
        names: list[str] | None = None,
        subject: str | None = None,
    ) -> Digest:
        """Push a manifest that other calls name `name`; an index, if it names others."""
        document: dict[str, Any] = {"schemaVersion": 2, "annotations": {"name": name}}
        if names is None:
            config = {"mediaType": "application/json", "digest": str(self.blob(repository))}
            document |= {"mediaType": IMAGE, "config": config | {"size": 2}, "layers": []}
        else:
            document |= {"mediaType": INDEX, "manifests": [self.described(one) for one in names]}
        if subject is not None:
            document["subject"] = self.described(subject)
        body = json.dumps(document).encode()
        self.bodies[name] = body
        digest = Digest.of(body)
        self.memory.registry.pushes.put(
            ManifestPush(
                repository,
                Tag(tags[0]) if tags else digest,
                document["mediaType"],
                body,
                tags[1:],
                "credential:ann",
            )
        )
        return digest

    def blob(self, repository: str) -> Digest:
        """Have the config of all images."""
        digest = Digest.of(b"{}")
        if self.memory.metadata.get_link(repository, digest) is None:
            self.memory.registry.uploads.put_whole(repository, "ann", digest, b"{}")
        return digest

    def described(self, name: str) -> dict[str, Any]:
        """Describe a manifest that was pushed."""
        body = self.bodies[name]
        kind = json.loads(body)["mediaType"]
        return {"mediaType": kind, "digest": str(Digest.of(body)), "size": len(body)}

    def digest(self, name: str) -> Digest:
        """Return a manifest's digest."""
        return Digest.of(self.bodies[name])

    def manifest(self, name: str, repository: str = NAME) -> Manifest:
        """Return a manifest's item, in any state."""
        found = self.memory.metadata.get_manifest(repository, self.digest(name))
        assert found is not None
        return found

    def live(self, repository: str = NAME) -> set[str]:
        """Return the names of what is live."""
        found = self.memory.metadata.get_manifests(repository, list(map(self.digest, self.bodies)))
        states = {digest: each.state for digest, each in found.items()}
        return {name for name in self.bodies if states.get(self.digest(name)) is ManifestState.LIVE}

    def rules(self, *rules: dict[str, Any], brake: int = 100, **sections: object) -> None:
        """Set rules of retention."""
        document = {"retention": {"rules": rules, "brake": brake}, **sections}
        stored = StoredRules(1, json.dumps(document), 0, "somebody")
        self.put(rules_key(), STORED_RULES.encode(stored))

    def use(self, *names: str, until: float = NOW * 2, repository: str = NAME) -> None:
        """Let a source name what runs."""
        digests = {self.digest(name): "" for name in names}
        lease = InUse(repository, "prod", "ecs", digests, NOW, until)
        self.put(in_use_key(repository, "prod"), IN_USE.encode(lease))

    def put(self, key: Key, item: Item) -> None:
        """Write an item past the registry."""
        keys = {name: {"S": text} for name, text in key.items()}
        self.memory.tables.put_item(TableName=REGISTRY, Item={**item, **keys})

    def wait(self, days: float) -> None:
        """Let days pass."""
        self.memory.clock.offset += days * DAY

    def run(self, *, anew: bool = True, seconds: float = 600) -> RetentionReport:
        """Run retention."""
        return self.retention.run(self.memory.clock.now() + seconds, anew=anew)

    def previewed(self, repository: str = NAME) -> set[str]:
        """Return the names of what a preview says that will go."""
        seen = self.retention.preview(repository, self.retention.rules()).judgement
        return {name for name in self.bodies if seen.goes(self.digest(name))}

    def edit(self, name: str, **changes: Any) -> None:  # noqa: ANN401 - any field of a manifest
        """Change a manifest's item past the registry."""
        manifest = replace(self.manifest(name), **changes)
        self.put(manifest_key(manifest.repository, manifest.digest), manifest_item(manifest))


def in_memory(limits: Limits | None = None) -> Kept:
    """Return an empty registry, whose clock stands but where a test moves it."""
    memory = registry_in_memory(limits or Limits(part_minimum=8))
    memory.clock.now = lambda: NOW + memory.clock.offset  # type: ignore[method-assign]
    return Kept(memory, {})
