"""What `moorage deploy` prints at its end.

Every command in it must work as it is printed, but for the image's name.
"""

import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_PROXY = "127.0.0.1:5000"
_IMAGE = "demo/my-image:1"


@dataclass(frozen=True, slots=True)
class DeployResult:
    """The result of a deployment. `token` is the first admin's; None if there was an admin."""

    url: str
    data_stack: str
    signing_key: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    domain_target: str | None = None
    """The name that a CNAME record of the domain needs, if the user makes that record."""
    edge: bool = False
    """Whether the URL is the edge's."""


def deployed(result: DeployResult) -> str:
    """Return what to print when the registry is there."""
    host = urlsplit(result.url).netloc
    path = None if result.token_file is None else shlex.quote(str(result.token_file))
    given = f" --password-stdin < {path}" if result.token and path else ""
    moorage = shlex.quote(program())
    return f"""The registry is at {result.url}/v2/
{_record(host, result.domain_target)}{_admin(result, path)}
{_straight(host, given) if result.edge else f"Pull from {host}; push"}\
 through the push proxy, which takes layers of any size:

  docker login -u admin {host}{given}
  {moorage} proxy --upstream {result.url} &
  docker login -u admin {_PROXY}{given}
  docker tag my-image {_PROXY}/{_IMAGE}
  docker push {_PROXY}/{_IMAGE}
  docker pull {host}/{_IMAGE}

Give access to others (docs/access.md):

  {moorage} token create ci --grant 'team/**:pull,push' --stack {result.data_stack}
  {moorage} key show --signing-key {result.signing_key}
"""


def program() -> str:
    """Return how the user's shell finds this command: by its name, or by its path."""
    mine = Path(sys.executable).with_name("moorage")
    found = shutil.which("moorage")
    if found is not None and mine.exists() and Path(found).samefile(mine):
        return "moorage"
    here = Path.cwd()
    return str(mine.relative_to(here) if mine.is_relative_to(here) else mine)


def _straight(host: str, given: str) -> str:
    return f"""Docker 29, buildx, containerd, nerdctl, oras, helm and regctl push there themselves:

  docker login -u admin {host}{given}
  docker tag my-image {host}/{_IMAGE}
  docker push {host}/{_IMAGE}

Older docker, podman, skopeo, crane and others push"""


def _record(host: str, target: str | None) -> str:
    if target is None:
        return ""
    return f"once a CNAME record of {host} names {target}\n"


def _admin(result: DeployResult, path: str | None) -> str:
    if result.token is None:
        return ""
    if path is not None:
        return f"The API token of admin is in {path}\n"
    return f"The API token of admin, shown only this once:\n\n  {result.token}\n"
