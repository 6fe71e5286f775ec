"""python-dxf: blobs and an alias are pushed, found and pulled back.

It logs in over HTTPS only, so a tap with a certificate stands before the registry.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.clients.flows.place import USER
from tests.clients.tap import tap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dxf import DXF, DXFBase
    from requests import Response

    from tests.clients.flows.place import Place


def push_and_pull_with_dxf(place: Place) -> None:
    """Push two blobs under an alias, twice; alias, digests, sizes and bytes come back."""
    contents = [f"{place.repository} {number}".encode() * 1000 for number in range(2)]
    with _https(place) as (host, authority):
        digests = []
        for content in contents * 2:
            file = place.workspace.fresh("blob")
            file.write_bytes(content)
            digests.append(_client(place, host, authority).push_blob(str(file)))
        client = _client(place, host, authority)
        for _ in range(2):
            client.set_alias("v1", *digests[:2])
        client = _client(place, host, authority)
        assert digests[:2] == digests[2:]
        assert client.get_alias("v1") == digests[:2]
        assert client.list_aliases() == ["v1"]
        assert [_pulled(client, digest) for digest in digests[:2]] == contents


def _pulled(client: DXF, digest: str) -> bytes:
    chunks = client.pull_blob(digest)
    assert not isinstance(chunks, tuple)  # that is with the size
    content = b"".join(chunks)
    assert client.blob_size(digest) == len(content)
    return content


def _client(place: Place, host: str, authority: Path) -> DXF:
    from dxf import DXF  # noqa: PLC0415  of an extra that other tests do without

    # The gateway's own challenge names no scope, so there its user has to.
    actions = None if place.challenge_has_scope else ["pull", "push"]

    def authenticate(client: DXFBase, response: Response) -> None:
        client.authenticate(USER, place.password, actions, response)

    auth = None if place.password is None else authenticate
    return DXF(host, place.repository, auth, auth_host=host, tlsverify=str(authority))


@contextmanager
def _https(place: Place) -> Iterator[tuple[str, Path]]:
    """Give an HTTPS door to the place, and the file of the certificate that signed its own."""
    import trustme  # noqa: PLC0415  of an extra that other tests do without

    authority = trustme.CA()
    file = place.workspace.fresh("ca.pem")
    authority.cert_pem.write_to_path(str(file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with tap(f"http://{place.host}", context) as listening:
        port = listening.host.rpartition(":")[2]
        yield f"localhost:{port}", file
