"""The web page: files that a browser loads, and that then use the API like any client.

Anybody may load the files, because they hold nothing of the registry. This module must never put
anything of a request into a file.
"""

import hashlib
from functools import lru_cache
from pathlib import Path

from chalicelib.api.messages import Request, Response
from chalicelib.errors import NameUnknownError
from chalicelib.routes import PAGE_FILES

_FOLDER = Path(__file__).parent.parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_GUARDS = {
    # Nothing but the page's own files runs, and it talks to nobody but the registry.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    # After a deployment the files belong together again at once.
    "Cache-Control": "no-cache",
}


def document(request: Request) -> Response:
    """GET: the page."""
    del request
    return _answer("index.html")


def file(request: Request, file: str) -> Response:
    """GET: one of its files."""
    del request
    if file not in PAGE_FILES:
        raise NameUnknownError("the page has no such file")
    return _answer(file)


def _answer(file: str) -> Response:
    body, tag = _read(file)
    headers = {**_GUARDS, "ETag": tag, "Content-Type": _TYPES[Path(file).suffix]}
    return Response(200, headers, body)


@lru_cache(maxsize=16)
def _read(name: str) -> tuple[bytes, str]:
    body = (_FOLDER / name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
