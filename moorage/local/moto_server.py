"""moto's server as a child process: S3 and DynamoDB in memory, for a laptop and for tests.

It answers requests in an order in which nothing is lost; what moto itself does wrong is corrected
in moorage.local.moto_corrections. It checks no signatures, and so answers to loopback only.
"""

import argparse
import io
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import parse_qs

from moto import settings
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from chalicelib.limits import PART_MINIMUM
from moorage.common.hosts import AllowedHosts
from moorage.local.children import exit_with_parent
from moorage.local.moto_corrections import correct_moto

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

_HOSTS = AllowedHosts("127.0.0.1")

_log = logging.getLogger(__name__)


class KeepAliveHandler(MotoRequestHandler):
    """Answers many requests on one connection.

    werkzeug's own handler closes the connection after each answer, because the application may not
    have read the whole body. This one reads the body first (moto holds it in memory anyway), so
    that the next bytes of a connection are always a new request.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024

    def run_wsgi(self) -> None:
        """Read one request, pass it to the application, and write the answer."""
        environ = self.make_environ()
        body = self._body(environ)
        environ["wsgi.input"] = io.BytesIO(body)
        environ["wsgi.input_terminated"] = True
        environ["CONTENT_LENGTH"] = str(len(body))
        if not _HOSTS.admits(environ.get("HTTP_HOST", "")):
            self._answer("403 Forbidden", [("Content-Type", "text/plain")], b"no host of mine")
            return
        status, headers, content = call(self.server.app, environ)
        self._answer(status, headers, content)

    def handle_expect_100(self) -> bool:
        """Answer 100 at once."""
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()
        return True

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Keep the access log silent."""

    def _body(self, environ: Environ) -> bytes:
        if "HTTP_TRANSFER_ENCODING" in environ:
            return bytes(environ["wsgi.input"].read())
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = self.rfile.read(length)
        if len(body) != length:
            self.close_connection = True
            raise ConnectionError(f"{len(body)} of {length} bytes arrived")
        return body

    def _answer(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        bodiless = int(code) in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        head = self.command == "HEAD"
        for name, value in headers:
            if name.lower() != "content-length" or head:
                self.send_header(name, value)
        if not head and not bodiless:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not head and not bodiless:
            self.wfile.write(content)
        self.wfile.flush()


class SerialDynamoDB:
    """Lets moto handle one DynamoDB request at a time.

    When a TransactWriteItems fails, moto restores what it found before: what other requests wrote
    in between is lost. Of two racing transactions both can succeed.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass requests for S3 on at once, and those for DynamoDB one by one."""
        if not str(environ.get("HTTP_X_AMZ_TARGET", "")).startswith("DynamoDB_"):
            return self._application(environ, start_response)
        with self._lock:
            return [b"".join(self._application(environ, start_response))]


class WholeCompletes:
    """Holds back requests for an object while moto puts it together from its parts.

    S3 ends a multipart upload and creates the object in one step. moto ends the upload first, and
    creates the object seconds later (with 300 MB): in between the bytes seem to be lost. A gateway
    asks in between when it was killed in a commit and the client repeats the request.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._under_way: set[str] = set()
        self._ended = threading.Condition()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pass a request on once no CompleteMultipartUpload of its key is under way."""
        path = str(environ.get("PATH_INFO", ""))
        with self._ended:
            self._ended.wait_for(lambda: path not in self._under_way)
            completes = _is_complete(environ)
            if completes:
                self._under_way.add(path)
        if not completes:
            return self._application(environ, start_response)
        try:
            return [b"".join(self._application(environ, start_response))]
        finally:
            with self._ended:
                self._under_way.discard(path)
                self._ended.notify_all()


def _is_complete(environ: Environ) -> bool:
    named = parse_qs(str(environ.get("QUERY_STRING", "")))
    return environ.get("REQUEST_METHOD") == "POST" and "uploadId" in named


class _Answer:
    """The arguments of an application's start_response."""

    FAILED: ClassVar[bytes] = (
        b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>InternalError</Code>'
        b"<Message>moto raised an exception; see its output</Message></Error>"
    )

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def start(self, status: str, headers: list[tuple[str, str]], _error: object = None) -> None:
        self.status, self.headers = status, headers


def call(application: Application, environ: Environ) -> tuple[str, list[tuple[str, str]], bytes]:
    """Return an application's status, headers and whole body; 500 where it raises."""
    answer = _Answer()
    try:
        content = b"".join(application(environ, answer.start))
    except Exception:  # noqa: BLE001 - moto may raise anything, and its client must get an answer
        innermost = "".join(traceback.format_exc().splitlines(keepends=True)[-6:])
        _log.error("%s %s\n%s", environ["REQUEST_METHOD"], environ["PATH_INFO"], innermost)
        return "500 Internal Server Error", [("Content-Type", "application/xml")], answer.FAILED
    return answer.status, answer.headers, content


def main(
    argv: Sequence[str] | None = None, wrap: Callable[[Application], Application] | None = None
) -> int:
    """Serve until SIGTERM, or until standard input ends; `wrap` puts more checks before moto."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    listen = parser.add_mutually_exclusive_group()
    listen.add_argument("--port", type=int, default=0, help="0 takes a free one (the default)")
    listen.add_argument("--fd", type=int, default=None, help="a listening socket to take over")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    if settings.S3_UPLOAD_PART_MIN_SIZE != PART_MINIMUM:
        sys.stderr.write("S3_UPLOAD_PART_MIN_SIZE is set: parts must be judged as S3 does\n")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    correct_moto()
    application: Application = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1",
        options.port,
        SerialDynamoDB(WholeCompletes(wrap(application) if wrap else application)),
        threaded=True,
        request_handler=KeepAliveHandler,
        fd=options.fd,
    )
    exit_with_parent()
    # With port 0 the parent reads the port here.
    sys.stdout.write(f"moto ready on http://127.0.0.1:{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
