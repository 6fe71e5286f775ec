"""Where an earlier push saw a blob: it is mounted from there.

A small file for each registry names a repository by digest. It is a hint and nothing more: a
registry that mounts nothing is sent the blob, and a file with anything wrong is taken for empty.
"""

import hashlib
import json
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile

from chalicelib.digest import Digest
from moorage.transfer.kept_sessions import user_state

_MOST = 5_000
"""Blobs of a registry that are noted, in half a MB: those of some hundred images."""


class KnownBlobs:
    """What is known of one registry; `origin` is its scheme, host and port."""

    def __init__(self, origin: str) -> None:
        self._path = user_state("blobs") / f"{hashlib.sha256(origin.encode()).hexdigest()}.json"

    def repository_of(self, digest: Digest) -> str | None:
        """Return the name of the repository that was last seen with a blob."""
        return self._noted.get(str(digest))

    def note(self, repository: str, digests: Iterable[Digest]) -> None:
        """Note that a repository has blobs, and forget what was noted longest ago.

        Of two commands that note at once, one may be forgotten. Where the folder can't be written
        to, nothing is noted.
        """
        noted = self._read()
        found = dict.fromkeys(map(str, digests), repository)
        if found.items() <= noted.items():
            return
        rest = [each for each in noted.items() if each[0] not in found]
        latest = dict([*rest, *found.items()][-_MOST:])
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with NamedTemporaryFile("w", dir=self._path.parent, delete=False) as file:
                json.dump(latest, file)
            # Renamed when it is whole: whoever kills the command leaves a file that can be read.
            Path(file.name).replace(self._path)
        except OSError:
            return

    @cached_property
    def _noted(self) -> dict[str, str]:
        return self._read()

    def _read(self) -> dict[str, str]:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(content, dict):
            return {}
        return {digest: name for digest, name in content.items() if isinstance(name, str)}
