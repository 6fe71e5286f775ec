"""S3 and DynamoDB in this process: strict moto without a socket, with small parts.

botocore builds, signs and parses every request as ever; only the wire between it and moto is cut
out, and a drill can order what comes over it. What moto holds can be looked at, kept and put back
without asking it. It must never be kinder than tests.emulators.strict_moto, but for the size of a
part.
"""

from __future__ import annotations

import io
import pickle
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import boto3
import moto.s3.models as moto_s3
from botocore.config import Config
from botocore.exceptions import ClientError
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import environ_key_for_header
from moto.dynamodb.models import dynamodb_backends
from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import (
    BackendRequest,
    DomainDispatcherApplication,
    create_backend_app,
)
from moto.s3.models import s3_backends
from werkzeug.test import run_wsgi_app

from chalicelib.registry.outcomes import Part
from moorage.common.data import REGION
from moorage.local.moto_corrections import correct_moto
from tests.emulators import s3_refusals
from tests.emulators.lost_answers import aws_answer
from tests.emulators.strict_moto import StrictMoto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from botocore.awsrequest import AWSResponse
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.dynamo_type import DynamoType
    from moto.s3.models import S3Backend
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

    from chalicelib.stores.dynamodb.codec import Item

URL = "http://127.0.0.1"
_SERVER = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "127.0.0.1",
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
}
"""What is the same in the WSGI environment of every request."""


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
        moto_s3.S3_UPLOAD_PART_MIN_SIZE = part_minimum  # type: ignore[attr-defined]
        s3_refusals._RANGE_COPY_MINIMUM = part_minimum  # noqa: SLF001 - no copy here has 5 MiB
        correct_moto()
        self._application = StrictMoto(DomainDispatcherApplication(create_backend_app))

    def forget(self) -> None:
        """See Wire."""
        BackendDict.reset()
        reset_model_data()
        s3_backends.bucket_accounts.clear()

    def keep(self) -> bytes:
        """See Wire."""
        held = [vars(backend) for backend in _backends()]
        return pickle.dumps((held, s3_backends.bucket_accounts), pickle.HIGHEST_PROTOCOL)

    def become(self, kept: bytes) -> None:
        """See Wire."""
        held, accounts = pickle.loads(kept)  # noqa: S301 - this process's own
        for backend, attributes in zip(_backends(), held, strict=True):
            vars(backend).clear()
            vars(backend).update(attributes)
        s3_backends.bucket_accounts = accounts

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
        body = request.body or b""
        body = as_bytes(body.read() if hasattr(body, "read") else body)
        headers = request.headers.items()
        path, _, query = request.url.removeprefix(URL).partition("?")
        environ: dict[str, Any] = {
            **_SERVER,
            **{environ_key_for_header(name): _text(value) for name, value in headers},
            "REQUEST_METHOD": request.method,
            "RAW_URI": request.url.removeprefix(URL),
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
        if "HTTP_X_AMZ_TARGET" in environ:
            status, answered, text = _dynamodb(environ)
            return aws_answer(request.url, status, as_bytes(text), answered)
        chunks, line, fields = run_wsgi_app(self._application, environ)
        return aws_answer(request.url, int(line.partition(" ")[0]), b"".join(chunks), dict(fields))


def _dynamodb(environ: dict[str, Any]) -> tuple[int, Mapping[str, str], str]:
    """Ask moto's DynamoDB as its server does, which has one path, and no use for Flask's."""
    request = BackendRequest(environ)
    try:
        answer: tuple[int, Mapping[str, str], str] = DynamoHandler.dispatch(
            request, request.raw_url, dict(request.headers)
        )
    except ClientError as error:
        return 400, {}, error.response["Error"]["Message"]
    return answer


def _backends() -> tuple[S3Backend, DynamoDBBackend]:
    """Return the two that the clients speak to."""
    s3, dynamodb = s3_backends[DEFAULT_ACCOUNT_ID], dynamodb_backends[DEFAULT_ACCOUNT_ID]
    return s3["aws"], dynamodb[REGION]


def _read(value: DynamoType) -> Any:  # noqa: ANN401 - as the SDK's stubs have it
    """Return an attribute's value as botocore reads it."""
    held: Any = value.value
    if value.type == "M":
        held = {name: _read(each) for name, each in held.items()}
    elif value.type == "L":
        held = [_read(each) for each in held]
    return {value.type: held}


def as_bytes(value: str | bytes) -> bytes:
    """Return text as it is sent."""
    return value.encode() if isinstance(value, str) else value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
