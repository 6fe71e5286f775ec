"""Corrects moto: what it keeps for ever, does slowly, or gets wrong.

The local registry and the tests run the same moto, this one. No correction may make it accept more
than S3 and DynamoDB do.
"""

import base64
import copy
import functools
import hashlib
import inspect
import threading
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any, NoReturn

import moto.backends as moto_backends
import moto.dynamodb.models as moto_dynamodb
from moto.core import responses
from moto.core.common_models import BaseModel
from moto.core.serialize import JSONSerializer
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.moto_server import werkzeug_app
from moto.s3.exceptions import NoSuchUpload, S3ClientError
from moto.s3.models import FakeKey, FakeMultipart, MultipartDict, S3Backend
from moto.s3.responses import S3Response

_PAGE = 1000
_TEXTS = frozenset({"S", "N"})
"""The kinds of an attribute's value that are text as they are sent."""


def correct_moto() -> None:
    """Make all corrections of this process's moto; a second call changes nothing."""
    _keep_no_instances()
    _let_transactions_copy_items()
    _list_parts_by_number()
    _know_ended_uploads()
    _copy_ranges_alone()
    _read_ranges_alone()
    _serve_the_ranges_of_s3()
    _compare_what_is_put()
    _answer_no_other_site()
    _say_of_cors_at_a_head()
    _write_one_member_of_a_value()
    _take_texts_for_texts()
    _measure_an_item_once()
    _query_a_partition()
    _look_once()


def _keep_no_instances() -> None:
    """moto: keeps all that it ever made, deleted or not, to show it on its dashboard."""

    def new(cls: type[BaseModel], *_: object, **__: object) -> BaseModel:
        return super(BaseModel, cls).__new__(cls)

    BaseModel.__new__ = new  # type: ignore[method-assign]
    # moto: warns of an object's bytes that go before it is reset, as they now do.
    FakeKey.__del__ = FakeKey.dispose  # type: ignore[method-assign]


_transact_write_items = DynamoDBBackend.transact_write_items


def _let_transactions_copy_items() -> None:
    """Make a transaction that fails put back the items that it names.

    moto: copies whole tables before each transaction, once for each action.
    """

    def transact(self: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
        kept = [place for action in transact_items for place in _named(self, action)]
        try:
            _transact_write_items(self, transact_items)
        except Exception:
            for items, key, item in kept:
                if item is None:
                    items.pop(key, None)
                else:
                    items[key] = item
            raise

    def deepcopy(value: Any) -> Any:  # noqa: ANN401 - as the standard library has it
        return value if isinstance(value, Table) else copy.deepcopy(value)

    DynamoDBBackend.transact_write_items = transact  # type: ignore[method-assign]
    moto_dynamodb.copy = SimpleNamespace(deepcopy=deepcopy)  # type: ignore[attr-defined, assignment]


def _named(
    backend: DynamoDBBackend, action: Mapping[str, Mapping[str, Any]]
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


def _list_parts_by_number() -> None:
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


def _know_ended_uploads() -> None:
    """Answer 404 NoSuchUpload to a part, a copy and a completion of an upload that is over.

    moto: fails, which is 500: for a client, something to repeat.
    """

    def missing(_: MultipartDict, upload_id: str) -> NoReturn:
        raise NoSuchUpload(upload_id)

    MultipartDict.__missing__ = missing  # type: ignore[attr-defined]


_upload_part_copy = S3Backend.upload_part_copy


def _copy_ranges_alone() -> None:
    """Read no more of an object than the range that a part is copied from.

    moto: reads the whole object for each part, which for the many parts of a large layer is the
    square of its size.
    """

    def upload_part_copy(  # noqa: PLR0913 - moto's own
        self: S3Backend,
        dest_bucket_name: str,
        multipart_id: str,
        part_id: int,
        src_bucket_name: str,
        src_key_name: str,
        src_version_id: str | None,
        start_byte: Any,  # noqa: ANN401 - a number, or None where moto says that it is one
        end_byte: Any,  # noqa: ANN401 - likewise
    ) -> FakeKey:
        source = self.get_object(src_bucket_name, src_key_name, version_id=src_version_id)
        if source is None or start_byte is None:
            return _upload_part_copy(
                self,
                dest_bucket_name,
                multipart_id,
                part_id,
                src_bucket_name,
                src_key_name,
                src_version_id,
                start_byte,
                end_byte,
            )
        upload = self.get_bucket(dest_bucket_name).multiparts[multipart_id]
        with source.lock:
            source._value_buffer.seek(start_byte)  # noqa: SLF001 - it has no method for a range
            data = source._value_buffer.read(end_byte - start_byte + 1)  # noqa: SLF001 - likewise
        return upload.set_part(part_id, data)

    S3Backend.upload_part_copy = upload_part_copy  # type: ignore[method-assign]


class _StoredBytes:
    """An object's bytes; only the requested ones are read."""

    def __init__(self, key: FakeKey) -> None:
        self._key = key

    def __len__(self) -> int:
        size: int = self._key.size
        return size

    def __getitem__(self, span: slice) -> bytes:
        first, end, _ = span.indices(len(self))
        with self._key.lock:
            self._key._value_buffer.seek(first)  # noqa: SLF001 - it has no method for a range
            return bytes(self._key._value_buffer.read(end - first))  # noqa: SLF001 - likewise


_get_object = S3Response.get_object
_value: Any = FakeKey.value


def _read_ranges_alone() -> None:
    """Read only the requested range of an object.

    moto: reads the whole object for each range, which for the many of a large layer is the square
    of its size.
    """
    ranged = threading.local()

    def get_object(self: S3Response) -> Any:  # noqa: ANN401 - moto's own
        ranged.now = "range" in self.headers
        try:
            return _get_object(self)
        finally:
            ranged.now = False

    def value(self: FakeKey) -> Any:  # noqa: ANN401 - bytes, or what stands for them
        return _StoredBytes(self) if getattr(ranged, "now", False) else _value.fget(self)

    S3Response.get_object = get_object  # type: ignore[method-assign]
    FakeKey.value = property(value, _value.fset)  # type: ignore[assignment, method-assign]


_handle_range_header = S3Response._handle_range_header  # noqa: SLF001 - no other name has it


def _serve_the_ranges_of_s3() -> None:
    """Answer with the whole object where S3 does.

    moto: takes every unit for bytes, fails without one, and knows no If-Range.
    """

    def handle(self: S3Response, request: Any, headers: dict[str, Any], content: Any) -> Any:  # noqa: ANN401 - moto's own
        stored = {name.lower(): value for name, value in headers.items()}
        condition = request.headers.get("if-range", stored["etag"])
        resumes = condition in {stored["etag"], stored["last-modified"]}
        status, answer = int(HTTPStatus.OK), content
        if resumes and request.headers["range"].startswith("bytes="):
            status, headers, answer = _handle_range_header(self, request, headers, content)
        return status, headers, answer[:]

    S3Response._handle_range_header = handle  # type: ignore[method-assign, assignment] # noqa: SLF001 - likewise


_get_checksum = S3Response._get_checksum  # noqa: SLF001 - likewise


def _compare_what_is_put() -> None:
    """Compare the bytes of a PUT with the SHA-256 that it names, and keep that.

    moto: stores any bytes, and forgets a checksum whose algorithm the SDK has not named besides.
    """

    def checksum(self: S3Response, response_headers: dict[str, Any]) -> tuple[str, str | None]:
        stated = self.headers.get("x-amz-checksum-sha256")
        if stated is None:
            return _get_checksum(self, response_headers)
        if stated != base64.b64encode(hashlib.sha256(self.body or b"").digest()).decode():
            raise S3ClientError(
                "BadDigest", "The SHA256 you specified did not match the calculated checksum."
            )
        response_headers["x-amz-checksum-sha256"] = stated
        return "SHA256", stated

    S3Response._get_checksum = checksum  # type: ignore[method-assign] # noqa: SLF001 - likewise


def _answer_no_other_site() -> None:
    """moto: lets the pages of every site in a browser read what it answers."""
    werkzeug_app.DISABLE_GLOBAL_CORS = True  # type: ignore[attr-defined]


_head_object = S3Response.head_object


def _say_of_cors_at_a_head() -> None:
    """moto: leaves out of the answer to a HEAD what the bucket's rules of CORS say."""

    def head(self: S3Response, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - likewise
        status, headers, body = _head_object(self, *given, **named)
        return status, {**headers, **self._get_cors_headers_other()}, body

    S3Response.head_object = head  # type: ignore[method-assign]


_serialize_type_structure = JSONSerializer._serialize_type_structure  # noqa: SLF001 - likewise


def _write_one_member_of_a_value() -> None:
    """Write the member that an attribute's value has.

    moto: looks for all ten in each value, under every name that its classes might give them, most
    of the time that it takes.
    """

    def structure(self: JSONSerializer, written: Any, value: Any, shape: Any, key: str) -> None:  # noqa: ANN401 - likewise
        if shape.name != "AttributeValue" or type(value) is not dict or not key:
            _serialize_type_structure(self, written, value, shape, key)
            return
        member: Any = {}
        for kind, held in value.items():
            if type(held) is str and kind in _TEXTS:
                member[kind] = held
            elif kind in shape.members:
                shape.members[kind].parent = shape
                self._serialize_structure_member(member, value, shape.members[kind], kind)
        self._default_serialize(written, member, shape, key)

    JSONSerializer._serialize_type_structure = structure  # type: ignore[method-assign, assignment] # noqa: SLF001 - likewise


_cast_value: Any = DynamoType.cast_value
_size = DynamoType.size


def _take_texts_for_texts() -> None:
    """moto: asks of each value that it compares or measures which of six kinds it is."""

    def cast(self: DynamoType) -> Any:  # noqa: ANN401 - moto's own
        return self.value if self.type == "S" else _cast_value.fget(self)

    def size(self: DynamoType) -> int:
        return len(self.value.encode()) if self.type == "S" else _size(self)

    DynamoType.cast_value = property(cast)  # type: ignore[assignment, method-assign]
    DynamoType.size = size  # type: ignore[method-assign]


def _measure_an_item_once() -> None:
    """moto: measures an item anew for each attribute that it takes, the square of their number."""

    def filled(
        self: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]
    ) -> None:
        self.hash_key, self.range_key = hash_key, range_key
        self.attrs = LimitedSizeDict()
        typed = [(name, DynamoType(each)) for name, each in attrs.items()]
        dict.update(self.attrs, typed[:-1])
        for name, each in typed[-1:]:
            self.attrs[name] = each  # this one measures them all

    Item.__init__ = filled  # type: ignore[method-assign]


_query = Table.query
_INDEX = list(inspect.signature(Table.query).parameters).index("index_name") - 2
"""The place of the index's name behind the hash key."""


def _query_a_partition() -> None:
    """moto: sorts the whole table for each query, whatever partition it is of."""

    def query(self: Table, hash_key: Any, *given: Any, **named: Any) -> Any:  # noqa: ANN401 - moto's own
        of_an_index = named.get("index_name", given[_INDEX] if len(given) > _INDEX else None)
        if self.range_key_attr is None or of_an_index is not None:
            return _query(self, hash_key, *given, **named)
        partition = list(self.items.get(hash_key, {}).values())
        self.all_items = lambda: partition  # type: ignore[method-assign]
        try:
            return _query(self, hash_key, *given, **named)
        finally:
            del self.all_items

    Table.query = query  # type: ignore[method-assign]


def _look_once() -> None:
    """Make moto remember what it supports. moto: looks for it at every request."""
    modules = tuple(moto_backends.list_of_moto_modules())
    moto_backends.list_of_moto_modules = lambda: modules
    names = functools.cache(responses.method_names_from_class)  # type: ignore[attr-defined]
    responses.method_names_from_class = names  # type: ignore[attr-defined]
