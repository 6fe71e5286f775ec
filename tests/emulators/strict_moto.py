"""moto with S3's own refusals: what moto lets pass and S3 does not, fails here too.

A WSGI middleware around moto's server, so that every client is judged, in whatever process it
runs. It must never refuse what S3 accepts. `python -m tests.emulators.strict_moto --port 0`.
"""

from __future__ import annotations

import argparse
import copy
import sys
import threading
from typing import TYPE_CHECKING, Any

import moto.backends as moto_backends
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


def transactions_copy_items() -> None:
    """Make a transaction that fails put back the items that it names.

    moto: copies whole tables before each transaction, once for each action, which in a table that
    many tests share is most of all the time that moto takes.
    """
    whole = DynamoDBBackend.transact_write_items

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        kept = [place for action in transact_items for place in _named(self, action)]
        try:
            whole(self, transact_items)
        except Exception:
            for items, key, item in kept:
                if item is None:
                    items.pop(key, None)
                else:
                    items[key] = item
            raise

    DynamoDBBackend.transact_write_items = transact  # type: ignore[method-assign]
    Table.__deepcopy__ = lambda self, _memo: self  # type: ignore[attr-defined]


def _named(
    backend: DynamoDBBackend, action: dict[str, dict[str, Any]]
) -> Iterator[tuple[dict[Any, Any], Any, Any]]:
    """Where the item stands that an action names, its key there, and a copy of it or None."""
    for request in action.values():
        table = backend.tables.get(request["TableName"])
        if table is not None:
            key = request["Key"] if "Key" in request else request["Item"]
            partition, sort = backend.get_keys_value(table, key)
            items = table.items[partition] if table.has_range_key else table.items
            place = sort if table.has_range_key else partition
            yield items, place, copy.deepcopy(items.get(place))


def look_for_modules_once() -> None:
    """Make moto remember what it supports. moto: looks in its folder for every request."""
    modules = tuple(moto_backends.list_of_moto_modules())
    moto_backends.list_of_moto_modules = lambda: modules


def correct_moto() -> None:
    """Make all corrections of this process's moto."""
    list_parts_by_number()
    transactions_copy_items()
    look_for_modules_once()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; `--copy-limit BYTES` moves S3's 5 GiB, so that a test can exceed it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--copy-limit", type=int, default=COPY_LIMIT)
    options, others = parser.parse_known_args(sys.argv[1:] if argv is None else argv)
    correct_moto()
    return moto_server.main(others, wrap=lambda moto: StrictMoto(moto, options.copy_limit))


if __name__ == "__main__":
    sys.exit(main())
