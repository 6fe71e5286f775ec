"""How much memory one request takes in the handler, base64 of its body left out."""

from __future__ import annotations

import base64
import os
import tracemalloc
from typing import TYPE_CHECKING, Any

from chalicelib.api.messages import MoorageChalice, current, to_chalice

if TYPE_CHECKING:
    from chalice.app import Response

    from tests.support.registries import RegistryUnderTest

MIB = 1024 * 1024


def event(path: str, query: dict[str, list[str]], body: bytes) -> dict[str, Any]:
    """Return a PATCH event."""
    return {
        "headers": {},
        "multiValueHeaders": {},
        "multiValueQueryStringParameters": query,
        "pathParameters": {"proxy": path},
        "stageVariables": None,
        "requestContext": {"resourcePath": "/{proxy+}", "httpMethod": "PATCH"},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def test_a_patch_of_4_mib_takes_less_than_32_mb(registry: RegistryUnderTest) -> None:
    """Joining the tail with a chunk and storing the part stays within 32 MB at its peak."""
    app = MoorageChalice("memory")

    def view() -> Response:
        return to_chalice(registry.api(current(app)))

    app.route("/{proxy+}", methods=["PATCH"], content_types=[])(view)
    at = str(registry.ask("POST", "a/b/blobs/uploads").headers["Location"])
    path, peaks = at.partition("?")[0].removeprefix("/v2/"), []
    for number in range(4):
        asked = event(path, {"at": [str(number * 4 * MIB)]}, os.urandom(4 * MIB))
        tracemalloc.start()
        answer = app(asked, None)
        peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
        tracemalloc.stop()
        assert answer["statusCode"] == 202
    print(f"peaks of 4 PATCHes: {', '.join(f'{peak:.1f} MB' for peak in peaks)}")
    assert 4 < max(peaks) < 32
