"""What no table can hold is refused for good, and not said to be a failure that will pass."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NoReturn, cast

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Request
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import IMAGE, code, described, image, put

if TYPE_CHECKING:
    from chalicelib.registry.registry import Registry
    from tests.support.registries import RegistryUnderTest

HALF = "\ud83d"
SUBJECT = described(b"a subject")


class Untouched:
    """A registry that must not be asked."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(name)


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("session", ["x" * 65, "x" * 2049, "%F0%9F%98%80" * 65])
def test_an_id_that_no_session_has_asks_no_store(method: str, session: str) -> None:
    """An id longer than ours is unknown at once: DynamoDB takes no key above 2,048 bytes."""
    api = Api(lambda: cast("Registry", Untouched()), ApiOptions(1024, HeadStrategy.BODY, 1024))
    path = f"team/app/blobs/uploads/{session}"
    response = api(Request(method, path, {}, {}, b"x", 0.0, "test"))
    assert (response.status, code(response)) == (404, "BLOB_UPLOAD_UNKNOWN")


@pytest.mark.parametrize("field", ["artifactType", "config", "subject", "layers"])
def test_half_a_surrogate_pair_is_no_media_type(registry: RegistryUnderTest, field: str) -> None:
    """JSON can escape what is no text; no store takes it, so no manifest may name a type so."""
    document = json.loads(image(registry, b"a layer", subject=SUBJECT))
    if field == "artifactType":
        document[field] = HALF
    else:
        place = document[field][0] if field == "layers" else document[field]
        place["mediaType"] = f"a/{HALF}"
    response = put(registry, "v1", json.dumps(document).encode(), IMAGE)
    assert (response.status, code(response)) == (400, "MANIFEST_INVALID")
    assert registry.ask("GET", "team/app/manifests/v1").status == 404


def test_any_text_may_stand_in_an_annotation(registry: RegistryUnderTest) -> None:
    """Annotations are kept escaped: the referrers list gives back what was pushed."""
    annotations = {HALF: "\0", "": "\U0001f600", "\u2028": ""}
    body = image(registry, b"a layer", subject=SUBJECT, annotations=annotations)
    assert put(registry, "v1", body).status == 201
    listed = registry.ask("GET", f"team/app/referrers/{SUBJECT['digest']}")
    (shown,) = json.loads(listed.body)["manifests"]
    assert shown["annotations"] == annotations
