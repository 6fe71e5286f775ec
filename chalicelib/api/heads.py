"""HEAD of a manifest where the gateway may say a length of 0.

A client that learns a digest believes the length beside it. This module must never let a client
take a length from us that it goes on to store or to fetch by.
"""

from chalicelib.api.messages import Request, Response
from chalicelib.descriptor import MediaType

_DIGEST = "Docker-Content-Digest"
# crane, ko, kaniko, cosign: they compare the digest alone, and a push fails where it is missing.
_READS_DIGEST_ONLY = "go-containerregistry"
# What containerd's resolver accepts (buildkit's and docker's too); its pusher names one type only.
_RESOLVER = frozenset({MediaType.OCI_MANIFEST, MediaType.OCI_INDEX, "*/*"})


def without_length(response: Response, request: Request, *, by_digest: bool) -> Response:
    """Change the answer that a GET would have so that no client relies on its length.

    - Without a digest clients GET the manifest instead, or say that they miss it.
    - containerd's resolver knows the digest it asks by and would believe 0: a 204 has no length
      (RFC 9110, 8.6), and it then counts what a GET brings.
    """
    if _READS_DIGEST_ONLY in request.headers.get("user-agent", ""):
        return response
    if by_digest and _accepted(request) >= _RESOLVER:
        return Response(204, response.headers)
    headers = {name: value for name, value in response.headers.items() if name != _DIGEST}
    return Response(response.status, headers, response.body)


def _accepted(request: Request) -> set[str]:
    types = request.headers.get("accept", "").split(",")
    return {part.partition(";")[0].strip() for part in types}
