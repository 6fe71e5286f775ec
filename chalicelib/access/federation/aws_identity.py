"""AWS identities: a presigned request to STS, which the client signs and the registry sends.

The client gives the URL of a presigned GetCallerIdentity, whose signature covers a header with the
name of this registry. The registry sends it with its own name, so STS refuses one that was made for
another registry. This module must never use a URL as it came: it builds one from parts that were
each checked, so that nothing but GetCallerIdentity can be sent, and only to STS. It must never show
one either: until it expires, anybody who has it can send it.
Source: AWS Signature Version 4, "Adding signing information to the query string".
"""

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from urllib.parse import quote, unquote, urlencode

from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.dataclass import dataclass

REGISTRY_HEADER = "x-moorage-registry"
"""The header with the registry's name: its host, with the port if there is one."""

SIGNED_HEADERS = f"host;{REGISTRY_HEADER}"
VERSION = "2011-06-15"
MAX_LENGTH = 4096
"""Most characters of a URL."""

MAX_LIFE = 900
"""Most seconds for which a presigned request may be valid: as many as STS accepts."""

EARLY = 300
"""Most seconds by which the client's clock may be ahead of this one."""

_GLOBAL_REGION = "us-east-1"
_FORM = re.compile(r"https://([a-z0-9.-]{1,64})/\?([A-Za-z0-9._~%=&/-]+)")
# A region's name has hyphens and ends in a number, as no service's has: under these domains
# `sts.<region>` is STS and can be no other service.
_REGIONAL = re.compile(r"sts\.([a-z]{2}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2})\.amazonaws\.com(\.cn)?")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PARAMETERS: Mapping[str, re.Pattern[str]] = {
    "Action": re.compile("GetCallerIdentity"),
    "Version": re.compile(VERSION),
    "X-Amz-Algorithm": re.compile("AWS4-HMAC-SHA256"),
    "X-Amz-Credential": re.compile(
        r"[A-Za-z0-9_]{3,128}/[0-9]{8}/[a-z0-9-]{1,32}/sts/aws4_request"
    ),
    "X-Amz-Date": re.compile(r"[0-9]{8}T[0-9]{6}Z"),
    "X-Amz-Expires": re.compile(r"[1-9][0-9]{0,2}"),
    "X-Amz-SignedHeaders": re.compile(SIGNED_HEADERS),
    "X-Amz-Signature": re.compile(r"[0-9a-f]{64}"),
}
_OPTIONAL: Mapping[str, re.Pattern[str]] = {
    "X-Amz-Security-Token": re.compile(r"[A-Za-z0-9+/=_-]{1,4000}"),
}
_ARN = re.compile(r"arn:aws(?:-[a-z]{1,16}){0,3}:(?:sts|iam)::([0-9]{12}):[!-~]{1,512}")


@dataclass(frozen=True)
class PresignedCallerIdentity:
    """A presigned GetCallerIdentity that was checked: the host to send it to, and the query."""

    host: str
    query: str = field(repr=False)
    credential: str
    """Id of the key that signed, date, region and service: nothing secret."""

    @property
    def url(self) -> str:
        """The URL to get."""
        return f"https://{self.host}/?{self.query}"


def parse_caller(arn: object, account: object) -> str:
    """Return who signed a request, as STS says: `arn:aws:sts::123456789012:assumed-role/ci/run-7`.

    Raises ValueError for no ARN, and for one of another account than is named beside it.
    """
    form = _ARN.fullmatch(arn) if isinstance(arn, str) else None
    if form is None or form[1] != account:
        raise ValueError("no ARN of a caller, or one of another account than is named")
    return form[0]


def parse_presigned(text: str, now: float) -> PresignedCallerIdentity:
    """Read the URL of a presigned GetCallerIdentity that is valid at `now`.

    Raises AuthenticationError. Only STS can verify its signature, which covers the name.
    """
    if len(text) > MAX_LENGTH:
        raise AuthenticationError(Reason.IDENTITY_LENGTH)
    form = _FORM.fullmatch(text)
    if form is None or _ESCAPE.search(text):
        raise AuthenticationError(Reason.AWS_FORM)
    region = _region(form[1])
    parameters = _parameters(form[2])
    _, day, signed_region, *_ = parameters["X-Amz-Credential"].split("/")
    if (day, signed_region) != (parameters["X-Amz-Date"][:8], region):
        raise AuthenticationError(Reason.AWS_FORM)
    _check_times(parameters["X-Amz-Date"], int(parameters["X-Amz-Expires"]), now)
    query = urlencode(parameters, quote_via=quote, safe="")
    return PresignedCallerIdentity(form[1], query, parameters["X-Amz-Credential"])


def host_of(region: str) -> str:
    """Return the host of STS in a region."""
    return f"sts.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


def _region(host: str) -> str:
    """Return the region for which requests to this host of STS are signed."""
    if host == "sts.amazonaws.com":
        return _GLOBAL_REGION
    form = _REGIONAL.fullmatch(host)
    if form is None or host != host_of(form[1]):
        raise AuthenticationError(Reason.AWS_FORM)
    return form[1]


def _parameters(query: str) -> dict[str, str]:
    """Return the parameters by name: all that are required, each once, and no other."""
    read: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, written = pair.partition("=")
        pattern = _PARAMETERS.get(name) or _OPTIONAL.get(name)
        if pattern is None or name in read:
            raise AuthenticationError(Reason.AWS_FORM)
        # Bytes that are no UTF-8 become a character that no pattern has.
        read[name] = unquote(written)
        if not pattern.fullmatch(read[name]):
            raise AuthenticationError(Reason.AWS_FORM)
    if not read.keys() >= _PARAMETERS.keys():
        raise AuthenticationError(Reason.AWS_FORM)
    return read


def _check_times(date: str, life: int, now: float) -> None:
    try:
        signed_at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise AuthenticationError(Reason.AWS_FORM) from None
    if life > MAX_LIFE:
        raise AuthenticationError(Reason.AWS_FORM)
    if signed_at > now + EARLY:
        raise AuthenticationError(Reason.IDENTITY_EARLY)
    if now >= signed_at + life:
        raise AuthenticationError(Reason.IDENTITY_EXPIRED)
