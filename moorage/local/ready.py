"""What `moorage local` announces when it is ready: a text for people, and a file for programs.

Every line that is shown for pasting must work as it is shown, but for the image's name.
"""

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from moorage.access.admin import ADMIN_NAME
from moorage.local.options import LocalOptions

OPEN = """\
The registry is open: everybody on this machine may push, pull and delete everything (only
loopback is listened on). `make run AUTH=1`, or `moorage local --auth`, turns access control on."""


@dataclass(frozen=True, slots=True)
class LocalAddresses:
    """The URLs of everything, without a path."""

    gateway: str
    proxy: str
    edge: str
    aws: str
    admin_token: str | None = field(repr=False)
    """The admin's API token; None: the registry is open."""


@contextlib.contextmanager
def announced(
    options: LocalOptions, addresses: LocalAddresses, pids: Mapping[str, int | None]
) -> Iterator[None]:
    """Announce that everything answers; the end of the block removes the file."""
    sys.stdout.write(f"{_ready_text(options, addresses)}\n")
    sys.stdout.flush()
    path = options.ready_file
    if path is None:
        yield
        return
    content = {
        "gateway": addresses.gateway,
        "proxy": addresses.proxy,
        "edge": addresses.edge,
        "aws": addresses.aws,
        "pids": dict(pids),
        "auth": options.auth,
        # Absolute: the reader of this file may be in another directory.
        "admin_token_file": options.admin_token_file and str(options.admin_token_file.absolute()),
    }
    # Renamed into place: a program that sees the file can read all of it.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(content), encoding="utf-8")
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _ready_text(options: LocalOptions, addresses: LocalAddresses) -> str:
    host, edge = urlsplit(addresses.proxy).netloc, urlsplit(addresses.edge).netloc
    image = f"{host}/demo/my-image:1"
    token = addresses.admin_token
    access = OPEN if token is None else closed(addresses, token, options.admin_token_file)
    in_memory = options.aws_endpoint is None
    store = "in memory, gone when this ends" if in_memory else "yours, and kept"
    return f"""Moorage is ready.

  docker 29, buildx, oras, helm: push here, no proxy     {addresses.edge}
  every other client pushes here, through the proxy      {addresses.proxy}
  the page, for a browser                                {addresses.proxy}/v2/_moorage/
  the gateway, as on AWS: no request above 10 MB         {addresses.gateway}
  S3 and DynamoDB: {store:<38}{addresses.aws}

{access}

Push and pull an image of yours, here called my-image. By docker 29 with its containerd image
store, whose layers go straight to S3:

  docker tag my-image {edge}/demo/my-image:1
  docker push {edge}/demo/my-image:1
  docker pull {edge}/demo/my-image:1

By any docker, podman and skopeo:

  docker tag my-image {image}
  docker push {image}
  docker pull {image}

  podman push --tls-verify=false my-image {image}
  podman pull --tls-verify=false {image}

  skopeo copy --dest-tls-verify=false oci:my-image docker://{image}
  skopeo copy --src-tls-verify=false docker://{image} oci:my-copy

Ctrl-C stops it."""


def closed(addresses: LocalAddresses, token: str, token_file: Path | None) -> str:
    """Return how to log in as the admin, with the token in a file, or printed here this once."""
    user, host, edge = (
        ADMIN_NAME,
        *(urlsplit(url).netloc for url in (addresses.proxy, addresses.edge)),
    )
    if token_file is None:
        intro = f"Access is controlled. The API token of {user}, shown this once:\n\n  {token}"
        how, given = "each asks for the token as the password", ""
        curl = f"curl -u {user}"
    else:
        path = shlex.quote(str(token_file))
        intro = f"Access is controlled. The API token of {user} is in {path}"
        how, given = "each reads the token from the file", f" --password-stdin < {path}"
        # Not as an argument of curl: everybody on the machine can see arguments.
        curl = f"""printf 'user = "{user}:%s"' "$(cat {path})" | curl -K -"""
    return f"""{intro}

Log in first ({how}):

  docker login -u {user} {edge}{given}
  docker login -u {user} {host}{given}
  podman login --tls-verify=false -u {user} {host}{given}
  skopeo login --tls-verify=false -u {user} {host}{given}
  {curl} {addresses.gateway}/v2/_token"""
