"""What the API does for the edge: the commit by GET, and downloads that the edge serves."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.api.dispatch import Api
from chalicelib.digest import Digest
from chalicelib.registry.keys import direct_key
from chalicelib.registry.service import Limits
from chalicelib.registry.tickets import FixedKeys, Purpose, Tickets
from chalicelib.settings import ApiOptions, HeadStrategy, Settings, SettingsError, is_within
from tests.chalicelib.api.pushing import code
from tests.support.calls import record_calls
from tests.support.registries import TICKET_KEYS, registry_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.emulators.backends import Backend
    from tests.support.registries import RegistryUnderTest

NAME = "team/app"
DATA = b"x" * 2000
DIGEST = Digest.of(DATA)
TICKETS = Tickets(TICKET_KEYS)


def put_by_edge(registry: RegistryUnderTest, data: bytes = DATA, **how: Any) -> str:  # noqa: ANN401 - of put_object
    """Open an upload, and put its bytes where the edge does; return the upload's path."""
    at = str(registry.ask("POST", f"{NAME}/blobs/uploads").headers["Location"]).partition("?")[0]
    key = direct_key(DIGEST, at.rpartition("/")[2].partition("~")[0])
    how = how or {"ChecksumAlgorithm": "SHA256"}
    registry.s3.put_object(Bucket=registry.bucket, Key=key, Body=data, **how)
    return at


def test_a_commit_by_get_is_one_head_and_one_transaction(registry: RegistryUnderTest) -> None:
    """The answer is that of the PUT; a repeat finds the commit done."""
    at = put_by_edge(registry)
    with record_calls(registry.s3, registry.dynamodb) as calls:
        answer = registry.ask("GET", f"{at}?commit&digest={DIGEST}")
    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{NAME}/blobs/{DIGEST}")
    assert answer.headers["Docker-Content-Digest"] == str(DIGEST)
    assert dict(calls.operations("s3")) == {"HeadObject": 1}
    assert dict(calls.operations("dynamodb")) == {"TransactWriteItems": 1}
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201
    assert registry.ask("GET", f"{NAME}/blobs/{DIGEST}").body == DATA


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda at: f"{at}x?commit&digest={DIGEST}", 404),
        (lambda at: f"{at.replace(NAME, 'team/other')}?commit&digest={DIGEST}", 404),
        (lambda at: f"{at}?commit&digest={Digest.of(b'other')}", 400),
        (lambda at: f"{at}?commit", 400),
        (lambda at: f"{at}?commit&digest=x", 400),
    ],
)
def test_a_wrong_ticket_or_digest_commits_nothing(
    registry: RegistryUnderTest,
    change: Callable[[str], str],
    status: int,
) -> None:
    """Forged, another repository's, another digest: refused, and the right one still works."""
    at = put_by_edge(registry)
    assert registry.ask("GET", change(at)).status == status
    assert registry.ports.metadata.get_record(DIGEST) is None
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201


def test_a_commit_after_a_chunk_is_refused_and_the_upload_goes_on(
    registry: RegistryUnderTest,
) -> None:
    """The session has bytes of its own, which the object in S3 does not continue."""
    at = put_by_edge(registry)
    assert registry.ask("PATCH", f"{at}?at=0", b"abc").status == 202
    refused = registry.ask("GET", f"{at}?commit&digest={DIGEST}")
    assert (refused.status, code(refused)) == (400, "BLOB_UPLOAD_INVALID")
    assert refused.headers["Range"] == "0-2"
    closed = registry.ask("PUT", f"{refused.headers['Location']}&digest={Digest.of(b'abc')}")
    assert closed.status == 201


def test_a_cancelled_upload_is_not_committed(registry: RegistryUnderTest) -> None:
    """It does not matter what the edge has put for it."""
    at = put_by_edge(registry)
    assert registry.ask("DELETE", at).status == 204
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 404


def test_a_commit_after_the_blob_was_deleted_is_404(
    registry: RegistryUnderTest,
) -> None:
    """The session is over, and the client pushes anew."""
    at = put_by_edge(registry)
    target = f"{at}?commit&digest={DIGEST}"
    assert registry.ask("GET", target).status == 201
    assert registry.ask("DELETE", f"{NAME}/blobs/{DIGEST}").status == 202
    key = direct_key(DIGEST, at.rpartition("/")[2].partition("~")[0])
    registry.s3.put_object(Bucket=registry.bucket, Key=key, Body=DATA, ChecksumAlgorithm="SHA256")
    assert registry.ask("GET", target).status == 404
    assert registry.ask("HEAD", f"{NAME}/blobs/{DIGEST}").status == 404


def test_two_uploads_of_one_blob_are_both_committed(registry: RegistryUnderTest) -> None:
    """The object of the first is live, and that of the second is deleted."""
    ways = [put_by_edge(registry), put_by_edge(registry)]
    assert len(registry.stored()) == 2
    for at in ways:
        assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201
    (live,) = registry.stored()
    record = registry.ports.metadata.get_record(DIGEST)
    assert (record and record.key, record and record.links) == (live, 1)


def test_an_object_that_nobody_commits_is_deleted_a_day_after_the_ticket(
    registry: RegistryUnderTest,
) -> None:
    """Not before, because a PUT may take that long. Then its commit is 404."""
    at = put_by_edge(registry)
    for hours, left in ((24, 1), (27, 0)):
        registry.clock.offset = hours * 3600.0
        registry.registry.sweeper.sweep(registry.clock.now() + 600)
        assert len(registry.stored()) == left
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 404


@pytest.mark.parametrize("chosen", [{"ContentEncoding": "gzip"}, {"CacheControl": "no-store"}])
def test_headers_that_every_download_would_have_are_refused(
    registry: RegistryUnderTest, chosen: dict[str, str]
) -> None:
    """The edge lets none pass: if it did, nothing would be published."""
    at = put_by_edge(registry, DATA, ChecksumAlgorithm="SHA256", **chosen)
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 400


@pytest.mark.parametrize(("data", "status"), [(DATA, 201), (b"lies", 400)])
def test_bytes_that_s3_has_not_compared_are_read(
    registry: RegistryUnderTest, data: bytes, status: int
) -> None:
    """Only a copy of what was read is published: the key may be put to once more."""
    at = put_by_edge(registry, data, ContentType="application/octet-stream")
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == status
    record = registry.ports.metadata.get_record(DIGEST)
    assert (record is not None) is (status == 201)
    assert record is None or record.key.startswith("blobs/")


def test_a_long_commit_redirects_to_itself_at_most_eight_times(
    strict_moto: Backend,
) -> None:
    """Then it is 503, and a worker that finishes meanwhile ends it."""
    registry = registry_over(strict_moto.fresh(), Limits(commit_inline=10))
    at = put_by_edge(registry, ContentType="application/octet-stream")
    target = f"{at}?commit&digest={DIGEST}"
    for hop in range(1, 9):
        answer = registry.ask("GET", target)
        assert (answer.status, answer.headers["Cache-Control"]) == (307, "no-store")
        target = str(answer.headers["Location"])
        assert target == f"{at}?commit&digest={DIGEST}&hop={hop}"
    assert registry.ask("GET", target).status == 503
    session = at.rpartition("/")[2].partition("~")[0]
    registry.clock.offset += 120  # until the worker that was asked for is given up
    registry.registry.commits.resume(session, registry.clock.now() + 600)
    assert registry.ask("GET", target).status == 201


def edged(registry: RegistryUnderTest, *near: str, cors: str = "") -> RegistryUnderTest:
    """Return the registry with an API that redirects every blob, and S3 to some networks."""
    networks = tuple(map(ip_network, near))
    options = ApiOptions(
        10, HeadStrategy.REDIRECT, 1024, networks, cors_origins=tuple(cors.split())
    )
    return replace(registry, api=Api(lambda: registry.registry, options))


def viewer(address: str, tickets: Tickets = TICKETS) -> str:
    """Return what the edge says of who asks it."""
    return tickets.write(Purpose.VIEWER, "", address)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_redirected_to_the_edge(registry: RegistryUnderTest, method: str) -> None:
    """By a ticket of its key, relative to the edge's host, valid for 20 minutes."""
    at = put_by_edge(registry)
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201
    target = f"{NAME}/blobs/{DIGEST}"
    answer = edged(registry).ask(method, target, x_moorage_edge=viewer("192.0.2.7"))
    path, _, ticket = str(answer.headers["Location"]).rpartition("/")
    assert (answer.status, path) == (307, f"/v2/{NAME}/blobs")
    fields = TICKETS.read(Purpose.DOWNLOAD, NAME, ticket)
    assert fields is not None
    digest, ends, place, session = fields
    assert (digest, place) == (str(DIGEST), "direct")
    assert registry.stored() == [direct_key(DIGEST, session)]
    assert 1190 < int(ends) - registry.clock.now() <= 1200


@pytest.mark.parametrize(
    ("said", "near"),
    [
        (None, ()),
        ("192.0.2.7", ()),
        ("192.0.2.7~x", ()),
        (viewer("192.0.2.7", Tickets(FixedKeys.of("another"))), ()),
        (viewer("192.0.2.7"), ("10.0.0.0/8", "192.0.2.0/24")),
        (viewer("2001:db8::1"), ("2001:db8::/32",)),
    ],
)
def test_a_client_without_an_edge_header_or_in_direct_networks_gets_the_url_of_s3(
    registry: RegistryUnderTest, said: str | None, near: tuple[str, ...]
) -> None:
    """A client can't set the header itself."""
    at = put_by_edge(registry)
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201
    headers = {} if said is None else {"x_moorage_edge": said}
    answer = edged(registry, *near).ask("GET", f"{NAME}/blobs/{DIGEST}", b"", **headers)
    assert answer.status == 307
    assert "://" in str(answer.headers["Location"])


@pytest.mark.parametrize(
    ("cors", "at_s3"), [("", False), ("https://ui.example", True), ("https://other.example", True)]
)
def test_a_page_of_another_site_gets_the_url_of_s3(
    registry: RegistryUnderTest, cors: str, *, at_s3: bool
) -> None:
    """S3 answers by the bucket's CORS rule, and the redirect by that of the API."""
    at = put_by_edge(registry)
    assert registry.ask("GET", f"{at}?commit&digest={DIGEST}").status == 201
    headers = {"x_moorage_edge": viewer("192.0.2.7"), "origin": "https://ui.example"}
    answer = edged(registry, cors=cors).ask("GET", f"{NAME}/blobs/{DIGEST}", b"", **headers)
    assert answer.status == 307
    assert ("://" in str(answer.headers["Location"])) is at_s3
    assert answer.headers.get("Access-Control-Allow-Origin") == (
        "https://ui.example" if cors == "https://ui.example" else None
    )


def test_networks_are_read_strictly() -> None:
    """A wrong address is in no network; a wrong network names its variable."""
    given = {"MOORAGE_BUCKET": "b", "MOORAGE_REGISTRY_TABLE": "r", "MOORAGE_UPLOADS_TABLE": "u"}
    read = Settings.read({**given, "MOORAGE_DIRECT_FROM": "10.0.0.0/8, 2001:db8::/32"})
    assert read.direct_from == (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    assert [is_within(text, read.direct_from) for text in ("10.1.2.3", "11.0.0.1", "x", "")] == [
        True,
        False,
        False,
        False,
    ]
    for text in ("10.0.0.1/8", "x", "10.0.0.0/8;1"):
        with pytest.raises(SettingsError, match="MOORAGE_DIRECT_FROM must be networks"):
            Settings.read({**given, "MOORAGE_DIRECT_FROM": text})
