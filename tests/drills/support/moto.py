"""S3 and DynamoDB in this process: strict moto without a socket, with small parts.

botocore builds, signs and parses every request as ever; only the wire between it and moto is cut
out, and a drill can order what comes over it. It must never be kinder than
tests.emulators.strict_moto, but for the size of a part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import moto.s3.models as moto_s3
from botocore.config import Config
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.test import create_environ, run_wsgi_app

from moorage.local.moto_corrections import correct_moto
from tests.emulators import s3_refusals
from tests.emulators.lost_answers import aws_answer
from tests.emulators.strict_moto import StrictMoto

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSResponse
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

URL = "http://127.0.0.1"


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
        body = request.body or b""
        environ = create_environ(
            request.url.removeprefix(URL),
            URL,
            method=request.method,
            headers={name: _text(value) for name, value in request.headers.items()},
            data=body.read() if hasattr(body, "read") else body,
        )
        chunks, status, headers = run_wsgi_app(self._application, environ)
        content = b"".join(chunks)
        return aws_answer(request.url, int(status.partition(" ")[0]), content, dict(headers))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
