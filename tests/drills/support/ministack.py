"""S3 and DynamoDB in this process: MiniStack's application, called without a server.

It is set up as tests.emulators.backends sets up the process of its own. This module must never
change what MiniStack answers.
"""

from __future__ import annotations

import base64
import functools
import importlib
import os
import pickle
import tempfile
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import unquote

from chalicelib.registry.outcomes import Part
from tests.drills.support.moto import URL, Wire
from tests.emulators.backends import ministack_variables
from tests.emulators.lost_answers import aws_answer
from tests.emulators.ministack_server import application
from tests.emulators.moto_here import as_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from botocore.awsrequest import AWSResponse

    from chalicelib.stores.dynamodb.codec import Item


_SERVICES = ("s3", "dynamodb")


class MiniStackWire(Wire):
    """The wire to MiniStack. All of them in one process are to the same one."""

    name = "ministack"

    def __init__(self) -> None:
        super().__init__()
        self._application = _imported()
        modules = [importlib.import_module(f"ministack.services.{each}") for each in _SERVICES]
        self._s3, self._tables = modules
        scoped = importlib.import_module("ministack.core.responses")
        kinds = scoped.AccountScopedDict, scoped.AccountRegionScopedDict
        self._held = [
            value for each in modules for value in vars(each).values() if isinstance(value, kinds)
        ]

    def ask(self, request: Any) -> AWSResponse:  # noqa: ANN401 - botocore's own request
        """See Wire."""
        path, _, query = request.url.removeprefix(URL).partition("?")
        body = request.body or b""
        body = as_bytes(body.read() if hasattr(body, "read") else body)
        fields = {name.lower(): value for name, value in request.headers.items()}
        fields |= {"host": URL.partition("//")[2], "content-length": str(len(body))}
        scope = {
            "type": "http",
            "scheme": "http",
            "method": request.method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), as_bytes(value)) for name, value in fields.items()],
        }
        said: list[Mapping[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": body}

        async def send(message: Mapping[str, Any]) -> None:
            said.append(message)

        serving = self._application(scope, receive, send)
        try:
            serving.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("MiniStack waits for something, and nothing runs here")
        begin, *chunks = said
        headers = {name.decode(): value.decode() for name, value in begin["headers"]}
        content = b"".join(chunk["body"] for chunk in chunks)
        return aws_answer(request.url, begin["status"], content, headers)

    def forget(self) -> None:
        """See Wire."""
        for each in self._held:
            each._data.clear()  # noqa: SLF001 - of whatever account

    def keep(self) -> bytes:
        """See Wire."""
        return pickle.dumps([each._data for each in self._held], pickle.HIGHEST_PROTOCOL)  # noqa: SLF001 - likewise

    def become(self, kept: bytes) -> None:
        """See Wire."""
        for each, data in zip(self._held, pickle.loads(kept), strict=True):  # noqa: S301 - this process's own
            each._data = data  # noqa: SLF001 - likewise

    def items(self, table: str) -> Iterator[Item]:
        """See Wire."""
        for rows in _named(self._tables._tables, table)["items"].values():  # noqa: SLF001 - likewise
            for item in rows.values():
                yield {name: _read(value) for name, value in item.items()}

    def objects(self, bucket: str) -> dict[str, bytes]:
        """See Wire."""
        held = _named(self._s3._buckets, bucket)["objects"]  # noqa: SLF001 - likewise
        return {key: held[key]["body"] for key in sorted(held)}

    def multiparts(self, bucket: str) -> dict[tuple[str, str], dict[int, Part]]:
        """See Wire."""
        return {
            (upload["key"], name[-1]): {
                number: Part(number, part["size"], part["etag"])
                for number, part in upload["parts"].items()
            }
            for name, upload in self._s3._multipart_uploads._data.items()  # noqa: SLF001 - likewise
            if upload["bucket"] == bucket
        }


@functools.cache
def _imported() -> Any:  # noqa: ANN401 - MiniStack has no types
    """Import MiniStack, and return its application; it keeps nothing on disk."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, ministack_variables(0, folder)),
    ):
        return application()


def _named(scoped: Any, name: str) -> Any:  # noqa: ANN401 - a class of MiniStack's
    """Return what has a name, of whatever account and region: there is one of each here."""
    return next(value for key, value in scoped._data.items() if key[-1] == name)  # noqa: SLF001 - likewise


def _read(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an attribute's value as botocore reads it."""
    ((kind, held),) = value.items()
    if kind == "B":
        held = base64.b64decode(held)
    elif kind == "M":
        held = {name: _read(each) for name, each in held.items()}
    elif kind == "L":
        held = [_read(each) for each in held]
    return {kind: held}
