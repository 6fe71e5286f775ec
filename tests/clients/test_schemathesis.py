"""schemathesis holds a running registry, straight at the gateway, to docs/openapi.yaml.

It makes its requests from the description, good ones and bad ones, and follows the links between
them. It must never be told to overlook anything: what it finds is wrong here or there.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chalicelib.digest import Digest
from tests.support import description
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.clients.daemons import RegistryProcess

pytestmark = [pytest.mark.clients, pytest.mark.timeout(400)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
RUNS: dict[str, tuple[int, Sequence[str]]] = {
    "reads and writes": (
        1000,
        ("--exclude-method", "DELETE", "--phases", "examples,coverage,fuzzing"),
    ),
    "deletes": (20, ("--include-method", "DELETE", "--phases", "examples,coverage,fuzzing")),
    "links": (20, ("--phases", "stateful")),
}
"""For each run how many requests it makes at least, and what else it is told."""

EXAMPLE = b"{}"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
# As the description's own examples name them.
NAME = "app"
TAG = "v1"
TAGS_LIST = "/v2/{name}/tags/list"


def stock(gateway: str) -> str:
    """Push what the description's examples name, and open a session; returns the session's id."""
    digest = str(Digest.of(EXAMPLE))
    uploads = f"/v2/{NAME}/blobs/uploads/"
    assert request(gateway, "POST", f"{uploads}?digest={digest}", EXAMPLE)[0] == 201
    blob = {"mediaType": "application/octet-stream", "digest": digest, "size": len(EXAMPLE)}
    manifest = {"schemaVersion": 2, "mediaType": IMAGE, "config": blob, "layers": [blob]}
    for reference, document in ((TAG, manifest), ("more", {**manifest, "subject": blob})):
        body = json.dumps(document).encode()
        assert request(gateway, "PUT", f"/v2/{NAME}/manifests/{reference}", body)[0] == 201
    status, headers, _ = request(gateway, "POST", uploads)
    assert status == 202
    return headers["Docker-Upload-UUID"]


def with_session(document: dict[str, Any], session: str) -> dict[str, Any]:
    """Return the description with a session that exists for an example."""
    changed = copy.deepcopy(document)
    parameters = changed["paths"]["/v2/{name}/blobs/uploads/{session}"]["parameters"]
    next(each for each in parameters if each.get("name") == "session")["example"] = session
    return changed


def schemathesis(
    gateway: str, document: dict[str, Any], folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a gateway; it makes the same requests each time."""
    path = folder / "openapi.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", str(path)),
        *("--url", gateway, "--checks", ",".join(CHECKS), "--generation-deterministic"),
        *("--max-examples", "10", "--continue-on-failure", "--no-color", *options),
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=360, check=False
    )


@pytest.mark.parametrize("name", RUNS)
def test_every_answer_is_as_described(registry: RegistryProcess, name: str, tmp_path: Path) -> None:
    """No request gets a 5xx, or a status, header, type or body that the description lacks."""
    least, options = RUNS[name]
    document = with_session(description.load(), stock(registry.gateway))
    done = schemathesis(registry.gateway, document, tmp_path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    generated = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert generated is not None, done.stdout
    print(f"{name}: {generated[0]}")
    assert int(generated[1]) == int(generated[2]) >= least


SPOILS: dict[str, Callable[[dict[str, Any]], object]] = {
    "without a status": lambda d: d["paths"][TAGS_LIST]["get"]["responses"].pop("404"),
    "with another version": lambda d: d["components"]["headers"]["ApiVersion"]["schema"].update(
        const="registry/3.0"
    ),
    "with another code": lambda d: d["components"]["schemas"]["Code"]["enum"].remove(
        "NAME_UNKNOWN"
    ),
}


@pytest.mark.parametrize("name", SPOILS)
def test_an_answer_that_is_not_described_is_noticed(
    registry: RegistryProcess, name: str, tmp_path: Path
) -> None:
    """Against a description that is wrong the run fails: it looks at what it says it looks at."""
    document = description.load()
    SPOILS[name](document)
    only = ("--include-operation-id", "listTags", "--phases", "coverage")
    done = schemathesis(registry.gateway, document, tmp_path, *only)
    assert done.returncode == 1, done.stdout + done.stderr
