"""PUTs to presigned URLs as a client sends them, over HTTP, with nothing of the SDK."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE = re.compile(rb"<Code>(\w+)</Code>")


def send(
    url: str, headers: Mapping[str, str | None], data: bytes | None, method: str = "PUT"
) -> tuple[int, str]:
    """Send one request; returns its status and S3's code. A header that is None is left out."""
    sent = {name: value for name, value in headers.items() if value is not None}
    request = urllib.request.Request(url, data=data, method=method, headers=sent)  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
            return answer.status, ""
    except urllib.error.HTTPError as refused:
        code = _CODE.search(refused.read())
        return refused.code, code[1].decode() if code else ""
