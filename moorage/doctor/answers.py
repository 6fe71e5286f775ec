"""What an answer must be, and what to do about one that isn't. This module must never do any I/O.

A check's own advice is about what it looks at. Some statuses have nothing to do with that: they
are told apart here, so that nobody is sent to a setting that is right already.
"""

import re

from moorage.doctor.findings import FailedError
from moorage.doctor.wire import HttpResponse, clean, told

KEEP_LOCATION = "what stands before the registry must pass Location on as it is, and the Host too"

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_SERVED = frozenset({200, 206, 416})
_TOO_MANY, _FAULT, _UNKNOWN_CODING = 429, 500, 501
_REFUSED = {
    401: "the token is no longer taken: something before the registry may drop Authorization, or it"
    " has expired (look at `clock`)",
    413: "something before the registry takes no body of that size: `--only sizes` finds what it"
    " takes",
}


def require(answer: HttpResponse, status: int, what: str) -> HttpResponse:
    """Return an answer if it has the status that it must have; raises FailedError."""
    if answer.status != status:
        raise FailedError(f"{what} must be {status}: {told(answer)}", unexpected(answer))
    return answer


def require_stored(answer: HttpResponse, what: str, host: str) -> HttpResponse:
    """Return what S3 answers at `host`, where a redirect led; raises FailedError if it fails."""
    if answer.status in _SERVED:
        return answer
    if answer.status >= _FAULT:
        todo = f"S3 fails at {clean(host)}, or is asked too often: try again in a while"
    else:
        region = clean(answer.headers.get("x-amz-bucket-region", ""))
        todo = at_s3(host, f"; the bucket is in {region}" if region else "")
    raise FailedError(f"{what}{told(answer)}", todo)


def at_s3(host: str, known: str = "") -> str:
    """Say where to look if a URL at S3 doesn't work."""
    return (
        "the URL at S3 fails, not the registry: look at the bucket's policy, at the region or"
        f" endpoint in that URL ({clean(host)}{known}), and at the network from here to S3"
    )


def unexpected(answer: HttpResponse) -> str | None:
    """Say what to do about a status that has its own reason; None: what the check's row says."""
    if answer.status == 403:  # noqa: PLR2004 - of two: the registry's own has a code
        if error_code(answer):
            return "these credentials may not do this: docs/access.md says how to grant it"
        return (
            "something before the registry refuses the request, as a firewall (WAF) or a resource"
            " policy does: let it pass"
        )
    return _REFUSED.get(answer.status) or fault(answer)


def fault(answer: HttpResponse) -> str | None:
    """Say what to do about an answer of whoever fails or has no time; None: it is neither."""
    if answer.status == _TOO_MANY:
        return "too many requests come at once: wait a while, or raise API Gateway's throttling"
    # A server answers 501 that knows no chunked bodies: that is for the check to say.
    if answer.status >= _FAULT and answer.status != _UNKNOWN_CODING:
        return in_log(answer)
    return None


def in_log(answer: HttpResponse) -> str:
    """Say which line of the log tells more."""
    request = clean(answer.headers.get("x-amzn-RequestId", ""))
    which = f"request_id {request}" if request else "this request"
    return (
        f"look into the function's log for {which}; if nothing is there, something before the"
        " registry has answered for it"
    )


def require_bytes(got: bytes, expected: bytes, what: str) -> None:
    """Raise FailedError unless these are the bytes."""
    if got == expected:
        return
    first = next(
        (at for at, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
        min(len(got), len(expected)),
    )
    lengths = f"{len(got)} bytes for {len(expected)}"
    raise FailedError(f"{what}: other bytes came back ({lengths}; the first at {first} differs)")


def kept(answer: HttpResponse, what: str) -> int:
    """Return how many bytes an upload's Range says are kept; `0-0` is none or one: 1 is said."""
    header = answer.headers.get("Range", "")
    found = _RANGE.fullmatch(header)
    if found is None:
        raise FailedError(f"{what}: no Range that tells what is kept, but {header[:40]!r}")
    return int(found[1]) + 1


def require_kept(answer: HttpResponse, size: int, what: str) -> None:
    """Raise FailedError unless Range says that exactly `size` bytes are kept."""
    said = answer.headers.get("Range", "")
    if said != f"0-{size - 1}":
        raise FailedError(f"{what}: Range says {said[:40]!r} where 0-{size - 1} is right")


def error_code(answer: HttpResponse) -> str:
    """Return the first code of an error in the spec's shape; empty if it has none."""
    errors = answer.json().get("errors")
    first = errors[0] if isinstance(errors, list) and errors else None
    code = first.get("code") if isinstance(first, dict) else None
    return code if isinstance(code, str) else ""
