"""What an answer must be, and what to do about one that isn't. This module must never do any I/O.

A check's own advice is about what it looks at. Some statuses have another reason: they have their
own advice here, so that nobody is sent to a setting that is right already.
"""

from moorage.common.http import HttpResponse, clean, last_kept_byte
from moorage.doctor.findings import FailedError
from moorage.doctor.wire import quoted

KEEP_LOCATION = (
    "a proxy or CDN before the registry must pass Location on as it is, and the Host too"
)

_SERVED = frozenset({200, 206, 416})
_TOO_MANY, _FAULT, _UNKNOWN_CODING = 429, 500, 501
_REFUSED = {
    401: "the token isn't accepted any more: a proxy before the registry may drop Authorization, or"
    " the token has expired (look at `clock`)",
    413: "a proxy or firewall before the registry takes no body of that size: `--only sizes` finds"
    " the largest that it takes",
}


def require(answer: HttpResponse, status: int, what: str) -> HttpResponse:
    """Return an answer if it has the status that it must have; raises FailedError."""
    if answer.status != status:
        raise FailedError(f"{what} must be {status}: {quoted(answer)}", unexpected(answer))
    return answer


def require_stored(answer: HttpResponse, what: str, host: str) -> HttpResponse:
    """Return the answer of S3 at `host`, after a redirect; raises FailedError for a refusal."""
    if answer.status in _SERVED:
        return answer
    if answer.status >= _FAULT:
        todo = f"S3 fails or throttles at {clean(host)}: try again in a while"
    else:
        region = clean(answer.headers.get("x-amz-bucket-region", ""))
        todo = at_s3(host, f"; the bucket is in {region}" if region else "")
    raise FailedError(f"{what}{quoted(answer)}", todo)


def at_s3(host: str, known: str = "") -> str:
    """Return the advice for a URL at S3 that doesn't work."""
    return (
        "the URL at S3 fails, not the registry: look at the bucket's policy, at the region or"
        f" endpoint in that URL ({clean(host)}{known}), and at the network from here to S3"
    )


def unexpected(answer: HttpResponse) -> str | None:
    """Return the advice for a status that has its own reason; None: the check's advice is right."""
    if answer.status == 403:  # noqa: PLR2004 - the registry's own 403 has an error code
        if error_code(answer):
            return "these credentials lack a grant: docs/access.md says how to add it"
        return "a firewall (WAF) or a resource policy before the registry refuses the request"
    return _REFUSED.get(answer.status) or fault(answer)


def fault(answer: HttpResponse) -> str | None:
    """Return the advice for a 429 or a 5xx; None for any other answer."""
    if answer.status == _TOO_MANY:
        return "too many requests at once: wait a while, or raise API Gateway's throttling limits"
    # 501 is the answer of a server that knows no chunked bodies: the check's advice is about it.
    if answer.status >= _FAULT and answer.status != _UNKNOWN_CODING:
        return in_log(answer)
    return None


def in_log(answer: HttpResponse) -> str:
    """Return the advice to look at a request's line in the log."""
    request = clean(answer.headers.get("x-amzn-RequestId", ""))
    which = f"request_id {request}" if request else "this request"
    return (
        f"look into the function's log for {which}; if there is no line, a proxy or CDN before the"
        " registry has answered for it"
    )


def require_bytes(got: bytes, expected: bytes, what: str) -> None:
    """Raise FailedError unless a body has the expected bytes."""
    if got == expected:
        return
    first = next(
        (at for at, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b),
        min(len(got), len(expected)),
    )
    lengths = f"{len(got)} bytes for {len(expected)}"
    raise FailedError(f"{what}: other bytes came back ({lengths}; the first at {first} differs)")


def kept(answer: HttpResponse, what: str) -> int:
    """Return how many bytes an upload has by its Range; for `0-0`, none or one, it is 1."""
    last = last_kept_byte(answer.headers)
    if last is None:
        header = answer.headers.get("Range", "")
        raise FailedError(f"{what}: Range doesn't say what is kept: {header[:40]!r}")
    return last + 1


def require_kept(answer: HttpResponse, size: int, what: str) -> None:
    """Raise FailedError unless Range says that the upload has exactly `size` bytes."""
    header = answer.headers.get("Range", "")
    if header != f"0-{size - 1}":
        raise FailedError(f"{what}: Range says {header[:40]!r} where 0-{size - 1} is right")


def error_code(answer: HttpResponse) -> str:
    """Return the first error code of a body in the OCI spec's form; empty if it has none."""
    code = answer.error().get("code")
    return code if isinstance(code, str) else ""
