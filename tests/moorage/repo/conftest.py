"""A registry in this process, over HTTP, and the command that speaks to it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.digest import Digest
from chalicelib.registry.service import Limits
from chalicelib.rules.document import StoredRules
from chalicelib.settings import ApiOptions, HeadStrategy
from chalicelib.stores.dynamodb.expressions import key_attributes
from chalicelib.stores.dynamodb.items import IN_USE, STORED_RULES
from chalicelib.stores.dynamodb.keys import in_use_key, rules_key
from moorage.cli import main as cli
from tests.support.moorage_command import forget_settings
from tests.support.registries import REGISTRY, MemoryRegistry, registry_in_memory, request_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from chalicelib.registry.model import InUse
    from chalicelib.stores.dynamodb.keys import Key

    Run = Callable[..., tuple[str, str]]

INDEX = "application/vnd.oci.image.index.v1+json"
IMAGE = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Served:
    """A registry and its API, and what is answered instead of what it says."""

    memory: MemoryRegistry = field(default_factory=lambda: registry_in_memory(Limits()))
    host: str = ""
    instead: Callable[[str, bytes], bytes] = lambda _, body: body
    """What to answer to a path, for the bytes that are the registry's answer."""
    link: str = ""
    """Where each list says that it continues."""
    broken: str | None = None
    """What a path has whose request is refused."""
    asked: list[tuple[str, str]] = field(default_factory=list)

    def ask(self, method: str, target: str, body: bytes = b"", **headers: str) -> Any:  # noqa: ANN401 - a Response
        """Send a request past HTTP."""
        api = Api(lambda: self.memory.registry, ApiOptions(1024, HeadStrategy.BODY, 4_500_000))
        deadline = self.memory.clock.now() + 29
        return api(request_to(method, target, body, headers, deadline))

    def put(self, tag: str, text: str) -> str:
        """Push an index under a tag; a minute passes. Returns its digest."""
        body = json.dumps(
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "annotations": {"a": text}}
        ).encode()
        assert self.ask("PUT", f"a/b/manifests/{tag}", body, content_type=INDEX).status == 201
        self.memory.clock.sleep(60)
        return str(Digest.of(body))

    def blob(self, data: bytes, name: str = "a/b") -> dict[str, Any]:
        """Push a blob; returns its descriptor."""
        digest = Digest.of(data)
        answer = self.ask("POST", f"{name}/blobs/uploads?digest={digest}", data)
        assert answer.status == 201
        return {"mediaType": "application/octet-stream", "digest": str(digest), "size": len(data)}

    def image(self, tag: str | None, *layers: bytes, **extra: object) -> str:
        """Push an image, by its digest where it has no tag; returns that."""
        document = {
            "schemaVersion": 2,
            "mediaType": IMAGE,
            "config": self.blob(b"{}"),
            "layers": [self.blob(layer) for layer in layers],
            **extra,
        }
        return self.manifest(tag, document)

    def index(self, tag: str, *digests: str) -> str:
        """Push an index of images; returns its digest."""
        named = [
            {"mediaType": IMAGE, "digest": digest, "size": len(self.body(digest))}
            for digest in digests
        ]
        return self.manifest(tag, {"schemaVersion": 2, "mediaType": INDEX, "manifests": named})

    def manifest(self, tag: str | None, document: dict[str, Any]) -> str:
        """Push a manifest; returns its digest."""
        body, kind = json.dumps(document).encode(), document["mediaType"]
        digest = str(Digest.of(body))
        target = f"a/b/manifests/{tag or digest}"
        assert self.ask("PUT", target, body, content_type=kind).status == 201
        return digest

    def rules(self, text: str) -> None:
        """Put rules in force."""
        self._row(rules_key(), STORED_RULES.encode(StoredRules(1, text, 0, "somebody")))

    def runs(self, lease: InUse) -> None:
        """Let images run somewhere."""
        self._row(in_use_key(lease.repository, lease.source), IN_USE.encode(lease))

    def _row(self, key: Key, item: Mapping[str, Any]) -> None:
        self.memory.tables.put_item(TableName=REGISTRY, Item={**item, **key_attributes(key)})

    def body(self, reference: str) -> bytes:
        """Return the bytes of a manifest."""
        return bytes(self.ask("GET", f"a/b/manifests/{reference}").body)

    def delete(self, reference: str) -> None:
        """Delete a tag or a manifest; a minute passes."""
        assert self.ask("DELETE", f"a/b/manifests/{reference}").status == 202
        self.memory.clock.sleep(60)

    def named(self, tag: str) -> str | None:
        """Return what a tag names."""
        answer = self.ask("GET", f"a/b/manifests/{tag}")
        return str(answer.headers["Docker-Content-Digest"]) if answer.status == 200 else None

    def now(self) -> str:
        """Return the time as a person writes it."""
        return datetime.fromtimestamp(self.memory.clock.now(), UTC).isoformat()


@pytest.fixture
def served() -> Iterator[Served]:
    """A registry on this machine."""
    registry = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            registry.asked.append((self.command, self.path))
            if registry.broken is not None and registry.broken in self.path:
                self.send_error(400)
                return
            answer = registry.ask(self.command, unquote(self.path))
            body = registry.instead(self.path, answer.body)
            self.send_response(answer.status)
            if registry.link:
                self.send_header("Link", f'<{registry.link}>; rel="next"')
            for name, value in answer.headers.items():
                self.send_header(name, str(value))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_DELETE = do_GET  # noqa: N815 - the names that http.server calls
        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    registry.host = f"127.0.0.1:{server.server_address[1]}"
    yield registry
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command as a user without settings; it gives what went to stdout and stderr.

    With `status` None it may end well or fail.
    """
    forget_settings(monkeypatch, tmp_path)

    def command(words: str, status: int | None = 0) -> tuple[str, str]:
        ended = cli.main(words.split())
        assert ended == status or (status is None and ended in {0, 1})
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return shown.out, shown.err

    return command
