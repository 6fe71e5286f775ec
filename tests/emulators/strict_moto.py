"""moto with S3's own refusals: what moto lets pass and S3 does not, fails here too.

A WSGI middleware around moto's server, so that every client is judged, in whatever process it
runs. It must never refuse what S3 accepts. `python -m tests.emulators.strict_moto --port 0`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from moto.dynamodb import models as moto_dynamodb
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.s3.models import FakeKey, FakeMultipart, S3Backend

from moorage.local import moto_server
from tests.emulators.s3_refusals import CHECKS, COPY_LIMIT, object_request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from moorage.local.moto_server import Application, Environ, StartResponse

_PAGE = 1000
_LOCKS = 64


class StrictMoto:
    """Judges each request for an object before moto sees it, one write of a key at a time.

    The lock makes If-Match and If-None-Match atomic, as they are on S3; in moto they race.
    """

    def __init__(self, application: Application, copy_limit: int = COPY_LIMIT) -> None:
        self._application = application
        self._copy_limit = copy_limit
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer with the first refusal, or else with moto's answer."""
        request = object_request(environ)
        if request is None or request.method == "HEAD":
            return self._application(environ, start_response)
        with self._locks[hash((request.bucket, request.key)) % _LOCKS]:
            for check in CHECKS:
                refusal = check(request, self._copy_limit)
                if refusal is not None:
                    return refusal.answer(start_response)
            return [b"".join(self._application(environ, start_response))]


def list_parts_by_number() -> None:
    """Make ListParts page by part number, at most 1,000 at a time.

    moto: takes the marker for an index, which loses parts once their numbers have gaps; and
    gives any number of parts in one page.
    """

    def list_parts(self: FakeMultipart, marker: int, max_parts: int) -> Iterator[FakeKey]:
        after = [number for number in self.partlist if number > marker]
        for number in after[: min(max_parts, _PAGE)]:
            yield self.parts[number]

    def is_truncated(self: S3Backend, bucket: str, upload_id: str, marker: int) -> bool:
        return any(
            number > marker for number in self.get_bucket(bucket).multiparts[upload_id].parts
        )

    FakeMultipart.list_parts = list_parts  # type: ignore[method-assign, assignment]
    S3Backend.is_truncated = is_truncated  # type: ignore[method-assign, assignment]


def transactions_copy_only_their_items() -> None:
    """Make a transaction put back the items that it names, where moto copies whole tables first.

    A copy takes as long as there are items in the table, most of a test's time.
    """
    transact = DynamoDBBackend.transact_write_items

    def transact_write_items(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        before = []
        for action in transact_items:
            (operation,) = action.values()
            table = self.tables.get(operation.get("TableName", ""))
            if table is not None:
                keys = self.get_keys_value(table, operation.get("Key") or operation["Item"])
                before.append((table, keys, copy.deepcopy(table.get_item(*keys))))
        try:
            transact(self, transact_items)
        except Exception:
            for table, (hash_key, range_key), item in before:
                if item is None:
                    table.delete_item(hash_key, range_key)
                elif range_key is None:
                    table.items[hash_key] = item  # type: ignore[assignment] # as moto does
                else:
                    table.items[hash_key][range_key] = item
            raise

    def deep(value: object) -> object:
        return value if isinstance(value, Table) else copy.deepcopy(value)

    moto_dynamodb.copy = SimpleNamespace(deepcopy=deep)  # type: ignore[attr-defined, assignment]
    DynamoDBBackend.transact_write_items = transact_write_items  # type: ignore[method-assign]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; `--copy-limit BYTES` moves S3's 5 GiB, so that a test can exceed it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--copy-limit", type=int, default=COPY_LIMIT)
    options, others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    list_parts_by_number()
    transactions_copy_only_their_items()
    return moto_server.main(others, wrap=lambda moto: StrictMoto(moto, options.copy_limit))


if __name__ == "__main__":
    sys.exit(main())
