"""Blobs in parts, as a client of direct uploads has them: bytes, digest, and the report of both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm, Digest, Hasher
from chalicelib.registry.proof import Stretch
from chalicelib.registry.upload.segments import Report, segments

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class PartedBlob:
    """The bytes of a blob by the number of their part, in order."""

    parts: Mapping[int, bytes]
    algorithm: Algorithm = Algorithm.SHA256

    @cached_property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.parts.values())

    @cached_property
    def digest(self) -> Digest:
        """Their digest."""
        return Digest.of(self.data, self.algorithm)

    @cached_property
    def document(self) -> Any:  # noqa: ANN401 - JSON, which tests change
        """The report, as JSON: number and size of each part, and the hash's words after it."""
        hasher, parts = Hasher(self.algorithm), []
        for number, data in self.parts.items():
            hasher.update(data)
            parts.append({"number": number, "size": len(data), "state": hasher.words().hex()})
        del parts[-1]["state"]
        return {"parts": parts}

    @property
    def report(self) -> bytes:
        """The report, as it is sent."""
        return json.dumps(self.document).encode()

    def stretch(self, key: str, etag: str) -> Stretch:
        """Return what a worker is asked who is to verify all of it."""
        report = Report.parse(self.report, self.algorithm, minimum=1)
        cut = segments(report, report.sizes, self.algorithm)
        return Stretch(key, etag, len(self.data), self.digest, cut)

    @property
    def wanted(self) -> bytes:
        """The request for a URL of each part, as it is sent."""
        parts = [{"number": number, "size": len(data)} for number, data in self.parts.items()]
        return json.dumps({"parts": parts}).encode()


def parted(data: bytes, *sizes: int, algorithm: Algorithm = Algorithm.SHA256) -> PartedBlob:
    """Cut bytes into parts of these sizes, numbered from 1; the last one has the rest."""
    parts, at = {}, 0
    for number, size in enumerate((*sizes, len(data) - sum(sizes)), start=1):
        parts[number] = data[at : at + size]
        at += size
    return PartedBlob(parts, algorithm)
