"""S3 and DynamoDB in this process: strict moto without a socket, with small parts.

botocore builds, signs and parses every request as ever; only the wire between it and moto is cut
out, and a drill can order what comes over it. What moto holds can be looked at, kept and put back
without asking it. It must never be kinder than tests.emulators.strict_moto, but for the size of a
part.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import boto3
import moto.s3.models as moto_s3
from botocore.config import Config
from moto.dynamodb.models import dynamodb_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.test import run_wsgi_app

from chalicelib.registry.outcomes import Part
from moorage.common.data import REGION
from moorage.local.moto_corrections import correct_moto
from tests.emulators import s3_refusals
from tests.emulators.lost_answers import aws_answer
from tests.emulators.moto_here import dynamodb_answer, environ_of
from tests.emulators.strict_moto import StrictMoto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.awsrequest import AWSResponse
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.dynamo_type import DynamoType
    from moto.s3.models import S3Backend
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from chalicelib.stores.dynamodb.codec import Item

URL = "http://127.0.0.1"
ACCOUNT = "222222222222"
"""The drills' own: moto holds other tests' data beside."""


class Wire(ABC):
    """What stands between botocore and an emulator in this process, and what that holds.

    `fault` replaces the next answer, or raises.
    """

    name: str

    def __init__(self) -> None:
        self.fault: Callable[[Any, Callable[[], Any]], Any] | None = None
        session = boto3.session.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - emulators check none
            region_name=REGION,
        )
        plain: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "proxies": {}}
        plain["user_agent"] = "drills"  # botocore puts its own together for each request anew
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, **plain)
        self.s3: S3Client = session.client("s3", endpoint_url=URL, config=config)
        self.dynamodb: DynamoDBClient = session.client(
            "dynamodb", endpoint_url=URL, config=Config(**plain)
        )
        for client in (self.s3, self.dynamodb):
            client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own request
        if self.fault is None:
            return self.ask(request)
        return self.fault(request, lambda: self.ask(request))

    @abstractmethod
    def ask(self, request: Any) -> AWSResponse:  # noqa: ANN401 - likewise
        """Return the emulator's answer."""

    @abstractmethod
    def forget(self) -> None:
        """Empty the emulator."""

    @abstractmethod
    def keep(self) -> bytes:
        """Return all that the emulator holds, for `become`."""

    @abstractmethod
    def become(self, kept: bytes) -> None:
        """Have the emulator hold what was kept, and nothing else."""

    @abstractmethod
    def items(self, table: str) -> Iterator[Item]:
        """Look at the items of a table, as botocore reads them."""

    @abstractmethod
    def objects(self, bucket: str) -> dict[str, bytes]:
        """Look at a bucket's objects."""

    @abstractmethod
    def multiparts(self, bucket: str) -> dict[tuple[str, str], dict[int, Part]]:
        """Look at a bucket's open uploads, by key and id."""


class MotoWire(Wire):
    """The wire to strict moto, with small parts."""

    name = "moto"

    def __init__(self, part_minimum: int) -> None:
        super().__init__()
        self._part_minimum = part_minimum
        correct_moto()
        self._application = StrictMoto(DomainDispatcherApplication(create_backend_app))

    def forget(self) -> None:
        """See Wire."""
        for service in (s3_backends, dynamodb_backends):
            service.pop(ACCOUNT, None)
        _forget_buckets()

    def keep(self) -> bytes:
        """See Wire."""
        held = [vars(backend) for backend in _backends()]
        return pickle.dumps((held, _buckets()), pickle.HIGHEST_PROTOCOL)

    def become(self, kept: bytes) -> None:
        """See Wire."""
        _forget_buckets()
        held, buckets = pickle.loads(kept)  # noqa: S301 - this process's own
        for backend, attributes in zip(_backends(), held, strict=True):
            vars(backend).clear()
            vars(backend).update(attributes)
        s3_backends.bucket_accounts.update(buckets)

    def items(self, table: str) -> Iterator[Item]:
        """See Wire."""
        _, dynamodb = _backends()
        for item in dynamodb.tables[table].all_items():
            yield {name: _read(value) for name, value in item.attrs.items()}

    def objects(self, bucket: str) -> dict[str, bytes]:
        """See Wire."""
        s3, _ = _backends()
        keys = s3.buckets[bucket].keys
        return {key: bytes(keys[key].value) for key in sorted(keys)}

    def multiparts(self, bucket: str) -> dict[tuple[str, str], dict[int, Part]]:
        """See Wire."""
        s3, _ = _backends()
        return {
            (upload.key_name, upload.id): {
                number: Part(number, part.size, part.etag) for number, part in upload.parts.items()
            }
            for upload in s3.buckets[bucket].multiparts.values()
        }

    def ask(self, request: Any) -> AWSResponse:  # noqa: ANN401 - likewise
        """See Wire."""
        environ = {**environ_of(request), "HTTP_X_MOTO_ACCOUNT_ID": ACCOUNT}
        if "HTTP_X_AMZ_TARGET" in environ:
            status, answered, text = dynamodb_answer(environ)
            return aws_answer(request.url, status, text, answered)
        with _parts_of(self._part_minimum):
            chunks, line, fields = run_wsgi_app(self._application, environ)
        return aws_answer(request.url, int(line.partition(" ")[0]), b"".join(chunks), dict(fields))


@contextmanager
def _parts_of(minimum: int) -> Iterator[None]:
    """Have moto take parts of so many bytes until the block ends: no copy here has 5 MiB."""
    before = moto_s3.S3_UPLOAD_PART_MIN_SIZE, s3_refusals._RANGE_COPY_MINIMUM  # type: ignore[attr-defined]  # noqa: SLF001 - no setting does it
    moto_s3.S3_UPLOAD_PART_MIN_SIZE = s3_refusals._RANGE_COPY_MINIMUM = minimum  # type: ignore[attr-defined]  # noqa: SLF001 - likewise
    try:
        yield
    finally:
        moto_s3.S3_UPLOAD_PART_MIN_SIZE, s3_refusals._RANGE_COPY_MINIMUM = before  # type: ignore[attr-defined]  # noqa: SLF001 - likewise


def _buckets() -> dict[str, tuple[str, str]]:
    """Return the buckets of the drills' account, as moto notes whose they are."""
    accounts = s3_backends.bucket_accounts
    return {name: owner for name, owner in accounts.items() if owner[1] == ACCOUNT}


def _forget_buckets() -> None:
    for bucket in _buckets():
        del s3_backends.bucket_accounts[bucket]


def _backends() -> tuple[S3Backend, DynamoDBBackend]:
    """Return the two that the clients speak to."""
    s3, dynamodb = s3_backends[ACCOUNT], dynamodb_backends[ACCOUNT]
    return s3["aws"], dynamodb[REGION]


def _read(value: DynamoType) -> Any:  # noqa: ANN401 - as the SDK's stubs have it
    """Return an attribute's value as botocore reads it."""
    held: Any = value.value
    if value.type == "M":
        held = {name: _read(each) for name, each in held.items()}
    elif value.type == "L":
        held = [_read(each) for each in held]
    return {value.type: held}
