"""What `moorage local` tells a person: how to push and pull, and what to do about a taken port.

Every line that it shows for pasting must work as it stands, but for the image's name.
"""

import sys
from urllib.parse import urlsplit

_AIRPLAY_PORT = 5000


def ready(*, proxy: str, gateway: str, aws: str, in_memory: bool) -> str:
    """Return what to print when everything answers; the arguments are URLs."""
    host = urlsplit(proxy).netloc
    image = f"{host}/demo/my-image:1"
    store = "moto: in memory, gone when this ends" if in_memory else "yours, and kept"
    return f"""Moorage is ready.

  clients push to and pull from  {proxy}
  the gateway, as on AWS         {gateway}  (no request above 10 MB)
  S3 and DynamoDB                {aws}  ({store})

Push and pull an image of yours, here called my-image:

  docker tag my-image {image}
  docker push {image}
  docker pull {image}

  podman push --tls-verify=false my-image {image}
  podman pull --tls-verify=false {image}

  skopeo copy --dest-tls-verify=false oci:my-image docker://{image}
  skopeo copy --src-tls-verify=false docker://{image} oci:my-copy

Ctrl-C stops it."""


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
