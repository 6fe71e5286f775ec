"""What `moorage local` tells a person: how to push and pull, and what to do about a taken port.

Every line that it shows for pasting must work as it stands, but for the image's name.
"""

import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

_AIRPLAY_PORT = 5000

OPEN = """\
The registry is open: whoever is on this machine may push, pull and delete everything (only
loopback is listened on). `make run AUTH=1`, or `moorage local --auth`, turns access control on."""


def ready(*, proxy: str, gateway: str, aws: str, in_memory: bool, access: str) -> str:
    """Return what to print when everything answers; `proxy`, `gateway` and `aws` are URLs.

    `access` says who may come in: OPEN, or what `closed` returned.
    """
    host = urlsplit(proxy).netloc
    image = f"{host}/demo/my-image:1"
    store = "moto: in memory, gone when this ends" if in_memory else "yours, and kept"
    return f"""Moorage is ready.

  clients push to and pull from  {proxy}
  the gateway, as on AWS         {gateway}  (no request above 10 MB)
  S3 and DynamoDB                {aws}  ({store})

{access}

Push and pull an image of yours, here called my-image:

  docker tag my-image {image}
  docker push {image}
  docker pull {image}

  podman push --tls-verify=false my-image {image}
  podman pull --tls-verify=false {image}

  skopeo copy --dest-tls-verify=false oci:my-image docker://{image}
  skopeo copy --src-tls-verify=false docker://{image} oci:my-copy

Ctrl-C stops it."""


def closed(*, proxy: str, gateway: str, user: str, token: str, token_file: Path | None) -> str:
    """Return how to log in as `user`: with the token in a file, or shown here, this once."""
    host = urlsplit(proxy).netloc
    if token_file is None:
        told = f"Access is controlled. The access token of {user}, shown this once:\n\n  {token}"
        how, given = "each asks for the token as the password", ""
        curl = f"curl -u {user}"
    else:
        path = shlex.quote(str(token_file))
        told = f"Access is controlled. The access token of {user} is in {path}"
        how, given = "each reads the token from the file", f" --password-stdin < {path}"
        # Not as an argument of curl's: everybody can see those.
        curl = f"""printf 'user = "{user}:%s"' "$(cat {path})" | curl -K -"""
    return f"""{told}

Log in first ({how}):

  docker login -u {user} {host}{given}
  podman login --tls-verify=false -u {user} {host}{given}
  skopeo login --tls-verify=false -u {user} {host}{given}
  {curl} {gateway}/v2/_token"""


def port_problem(*, port: int, problem: str, who: str, option: str, variable: str) -> str:
    """Return one line: which port, wanted for what, and how to move it."""
    other = port + 1
    text = (
        f"port {port} {problem}, and {who} needs it. "
        f"Use another: `{variable}={other} make run` or `moorage local {option} {other}`"
    )
    if port == _AIRPLAY_PORT and sys.platform == "darwin":
        text += " (on macOS the AirPlay Receiver holds port 5000; System Settings can turn it off)"
    return text
