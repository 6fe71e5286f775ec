"""S3 and DynamoDB in this process: strict moto without a socket, with small parts.

botocore builds, signs and parses every request as ever; only the wire between it and moto is cut
out, and a drill can order what comes over it. It must never be kinder than
tests.emulators.strict_moto, but for the size of a part.
"""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import boto3
import moto.s3.models as moto_s3
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends

from tests.emulators import s3_refusals
from tests.emulators.strict_moto import StrictMoto, correct_moto

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

URL = "http://127.0.0.1"
_UNPREFIXED = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


class MotoWire:
    """What stands between botocore and moto. `fault` replaces the next answer, or raises."""

    def __init__(self, part_minimum: int) -> None:
        moto_s3.S3_UPLOAD_PART_MIN_SIZE = part_minimum  # type: ignore[attr-defined]
        s3_refusals._RANGE_COPY_MINIMUM = part_minimum  # noqa: SLF001 - no copy here has 5 MiB
        correct_moto()
        self.fault: Callable[[Any, Callable[[], Any]], Any] | None = None
        self._application = StrictMoto(DomainDispatcherApplication(create_backend_app))
        session = boto3.session.Session(
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - moto checks none
            region_name="us-east-1",
        )
        plain: dict[str, Any] = {"retries": {"total_max_attempts": 1}, "proxies": {}}
        config = Config(signature_version="s3v4", s3={"addressing_style": "path"}, **plain)
        self.s3: S3Client = session.client("s3", endpoint_url=URL, config=config)
        self.dynamodb: DynamoDBClient = session.client(
            "dynamodb", endpoint_url=URL, config=Config(**plain)
        )
        for client in (self.s3, self.dynamodb):
            client.meta.events.register("before-send", self._answer)

    @staticmethod
    def forget() -> None:
        """Empty moto."""
        BackendDict.reset()
        reset_model_data()
        s3_backends.bucket_accounts.clear()

    def _answer(self, request: Any, **_: object) -> Any:  # noqa: ANN401 - botocore's own request
        if self.fault is None:
            return self._ask(request)
        return self.fault(request, lambda: self._ask(request))

    def _ask(self, request: Any) -> AWSResponse:  # noqa: ANN401 - likewise
        start_line: dict[str, Any] = {}

        def start(status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
            start_line.update(status=int(status.partition(" ")[0]), headers=dict(headers))

        content = b"".join(self._application(_environ(request), start))
        return answer(request, start_line["status"], content, start_line["headers"])


def answer(
    request: Any,  # noqa: ANN401 - likewise
    status: int,
    content: bytes,
    headers: Mapping[str, str] | None = None,
) -> AWSResponse:
    """Return what botocore takes for an answer that came over the wire."""
    return AWSResponse(request.url, status, dict(headers or {}), _Raw(content))  # type: ignore[arg-type]


class _Raw(io.BytesIO):
    """A body as urllib3 has it."""

    def stream(self, **_: object) -> Any:  # noqa: ANN401 - an iterator of bytes
        yield self.read()


def _environ(request: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
    parts = urlsplit(request.url)
    body = request.body or b""
    body = body.read() if hasattr(body, "read") else body
    body = body.encode() if isinstance(body, str) else bytes(body)
    target = request.url.removeprefix(URL)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote(parts.path),
        "RAW_URI": target,
        "REQUEST_URI": target,
        "QUERY_STRING": parts.query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        text = value.decode() if isinstance(value, bytes) else value
        environ[key if key in _UNPREFIXED else f"HTTP_{key}"] = text
    return environ | {"CONTENT_LENGTH": str(len(body)), "HTTP_HOST": "127.0.0.1"}
