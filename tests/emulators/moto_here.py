"""moto in this process: what botocore sends here goes straight to it, and the rest by a socket.

Child processes, URLs that are signed and whoever else speaks HTTP get the very same moto by the
socket. A request of this process's own clients costs half as much without one. moto must never be
kinder here than as a child process: it has the same corrections, the same locks and, where it is
strict, the same refusals.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import unquote_to_bytes

from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from moto.core.request import environ_key_for_header
from moto.dynamodb.responses import DynamoHandler
from moto.moto_server.werkzeug_app import (
    BackendRequest,
    DomainDispatcherApplication,
    create_backend_app,
)
from werkzeug.serving import make_server

from moorage.local.moto_corrections import correct_moto
from moorage.local.moto_server import KeepAliveHandler, SerialDynamoDB, WholeCompletes, call
from tests.emulators.backends import backend_at
from tests.emulators.lost_answers import aws_answer
from tests.emulators.strict_moto import StrictMoto

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from botocore.awsrequest import AWSResponse

    from moorage.local.moto_server import Application, Environ, StartResponse
    from tests.emulators.backends import Backend

_SERVER = {
    "SCRIPT_NAME": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http",
    "wsgi.errors": sys.stderr,
    "wsgi.input_terminated": True,
}
"""What is the same in the WSGI environment of every request."""


@contextmanager
def moto_here(*, strict: bool = True, account: str | None = None) -> Iterator[Backend]:
    """Run moto in this process until the block ends.

    Two that have accounts of their own share nothing but the names of buckets.
    """
    correct_moto()
    moto: Application = DomainDispatcherApplication(create_backend_app)
    moto = WholeCompletes(StrictMoto(moto) if strict else moto)
    application = SerialDynamoDB(_Account(_PlainDynamoDB(moto), account))
    server = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=KeepAliveHandler
    )
    url = f"http://127.0.0.1:{server.server_address[1]}"
    serves = threading.Thread(target=server.serve_forever, daemon=True)
    serves.start()
    send = URLLib3Session.send

    def sent(self: URLLib3Session, request: Any) -> Any:  # noqa: ANN401 - botocore's own
        to_here = request.url.startswith(f"{url}/")
        return answered(application, request) if to_here else send(self, request)

    try:
        with mock.patch.object(URLLib3Session, "send", sent):
            yield backend_at("strict-moto" if strict else "moto", url, os.getpid())
    finally:
        server.shutdown()
        server.server_close()
        serves.join()


class _Account:
    """Has moto keep what it is asked to keep in one account."""

    def __init__(self, application: Application, account: str | None) -> None:
        self._application = application
        self._account = account

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Name the account."""
        if self._account is not None:
            environ["HTTP_X_MOTO_ACCOUNT_ID"] = self._account
        return self._application(environ, start_response)


class _PlainDynamoDB:
    """Asks moto's DynamoDB as its server does, which has one path, and no use for Flask's."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer what is for DynamoDB."""
        if not str(environ.get("HTTP_X_AMZ_TARGET", "")).startswith("DynamoDB_"):
            return self._application(environ, start_response)
        status, headers, text = dynamodb_answer(environ)
        start_response(f"{status} ", list(headers.items()))
        return [text]


def dynamodb_answer(environ: Environ) -> tuple[int, dict[str, str], bytes]:
    """Ask moto's DynamoDB; returns status, headers and body."""
    request = BackendRequest(environ)
    try:
        status, headers, text = DynamoHandler.dispatch(
            request, request.raw_url, dict(request.headers)
        )
    except ClientError as error:
        return 400, {}, as_bytes(error.response["Error"]["Message"])
    return status, {name: str(value) for name, value in headers.items()}, as_bytes(text)


def answered(application: Application, request: Any) -> AWSResponse:  # noqa: ANN401 - botocore's own
    """Answer a request of botocore's by an application in this process."""
    status, headers, content = call(application, environ_of(request))
    fields = dict(headers)
    if request.method != "HEAD":
        fields["Content-Length"] = str(len(content))
    return aws_answer(request.url, int(status.partition(" ")[0]), content, fields)


def environ_of(request: Any) -> Environ:  # noqa: ANN401 - likewise
    """Return the WSGI environment of a request of botocore's."""
    body = request.body or b""
    body = as_bytes(body.read() if hasattr(body, "read") else body)
    host, _, target = request.url.partition("//")[2].partition("/")
    path, _, query = f"/{target}".partition("?")
    fields = request.headers.items()
    return {
        **_SERVER,
        "HTTP_HOST": host,
        "SERVER_PORT": host.partition(":")[2] or "80",
        **{environ_key_for_header(name): _text(value) for name, value in fields},
        "REQUEST_METHOD": request.method,
        "RAW_URI": f"/{target}",
        "REQUEST_URI": f"/{target}",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }


def as_bytes(value: str | bytes) -> bytes:
    """Return text as it is sent."""
    return value.encode() if isinstance(value, str) else value


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
