"""Checks of HEAD: the lengths that clients believe, and the strategy to set for this gateway.

docs/clients.md says what each client does with a length. This module must never take a length from
anything but the header as it came over the wire.
"""

from dataclasses import dataclass

from chalicelib.descriptor import MediaType
from chalicelib.errors import ErrorCode
from moorage.common.http import HttpResponse, clean
from moorage.doctor.answers import error_code, in_log, unexpected
from moorage.doctor.findings import FailedError, Finding, ok, warn
from moorage.doctor.visit import IMAGE, INDEX, Visit, digest_of
from moorage.doctor.wire import quoted

RESOLVER = f"{MediaType.DOCKER_MANIFEST}, {MediaType.DOCKER_LIST}, {IMAGE}, {INDEX}, */*"
"""The Accept header of containerd's resolver, which buildkit and docker use too."""

CRANE = "go-containerregistry/0.22.1"

_SET_REDIRECT = (
    "set MOORAGE_HEAD_STRATEGY=redirect (a deployment: `make deploy HEAD_STRATEGY=redirect`): this"
    " gateway doesn't count a HEAD's body"
)
_SET_BODY = (
    "set MOORAGE_HEAD_STRATEGY=body (a deployment: `make deploy HEAD_STRATEGY=body`): this"
    " gateway counts a HEAD's body, and then `oras attach` by tag works too"
)
_NONE = "none"
_REDIRECTED = "Moorage-Blob-Size"
_TOKEN = "/v2/_token"  # noqa: S105 - a path


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """A HEAD's status and Content-Length (`none`: no such header), and the true length."""

    status: int
    length: str
    true: int
    digest: str

    @classmethod
    def of(cls, answer: HttpResponse, true: int) -> "HeadAnswer":
        """Read an answer."""
        headers = answer.headers
        length = clean(headers.get("Content-Length", _NONE))
        return cls(answer.status, length, true, headers.get("Docker-Content-Digest", ""))

    @property
    def right(self) -> bool:
        """Whether the header has the true length."""
        return self.length == str(self.true)

    @property
    def plain(self) -> str:
        """The status and the lengths, without a word about the digest."""
        return f"{self.status}, length {self.length} (is {self.true})"

    def __str__(self) -> str:
        return self.plain if self.digest else f"no digest, {self.plain}"


def blob_head(visit: Visit) -> Finding:
    """HEAD a blob, and at S3 too where a redirect leads there."""
    size = len(visit.sample.data)
    answer = visit.ask("HEAD", visit.v2(f"blobs/{visit.sample.digest}"))
    visit.facts["blob_head"] = HeadAnswer.of(answer, size).plain
    there = visit.follow(answer, "HEAD")
    if there.status != 200:  # noqa: PLR2004 - the one that is right
        raise _wrong_status("HEAD of a blob", there)
    direct, head = there is answer, HeadAnswer.of(there, size)
    where = "" if direct else f"{answer.status}, and there "
    if not head.right:
        todo = _SET_REDIRECT if direct else "look at what changes S3's answers on their way"
        raise FailedError(f"HEAD of a blob: {where}{head.plain}", todo)
    return ok(f"HEAD of a blob: {where}{head.plain}")


def manifest_head(visit: Visit) -> Finding:
    """HEAD a manifest as three clients do, each of which relies on another header."""
    manifest = visit.image(visit.sample, annotations={"doctor": "head"})
    visit.put_manifest("head", manifest)
    visit.remember(visit.repository, "manifests", "head")
    digest, size = digest_of(manifest), len(manifest)
    heads = (
        ("tag", "head", {"Accept": IMAGE}),
        ("crane", "head", {"Accept": IMAGE, "User-Agent": CRANE}),
        ("containerd", digest, {"Accept": RESOLVER}),
    )
    plain, crane, resolver = (_head(visit, size, *row) for row in heads)
    if crane.digest != digest:
        raise FailedError(f"go-containerregistry gets no digest: {crane}")
    for who, head in (("a tag", plain), ("containerd's resolver", resolver)):
        _require_safe(who, head)
    return ok(f"by tag {plain}; by containerd {resolver}")


def _head(visit: Visit, size: int, who: str, reference: str, headers: dict[str, str]) -> HeadAnswer:
    """HEAD as one client does; raises FailedError for a status that no client can use."""
    answer = visit.ask("HEAD", visit.v2(f"manifests/{reference}"), headers)
    head = HeadAnswer.of(answer, size)
    visit.facts[f"manifest_head_by_{who}"] = str(head)
    if head.status not in {200, 204}:
        raise _wrong_status(f"HEAD of a manifest by {who}", answer)
    return head


def _wrong_status(what: str, answer: HttpResponse) -> FailedError:
    return FailedError(f"{what}: {quoted(answer)}", unexpected(answer) or in_log(answer))


def _require_safe(who: str, head: HeadAnswer) -> None:
    """Raise FailedError where a client would use a wrong length."""
    if head.status == 204:  # noqa: PLR2004 - only containerd gets it
        if head.length != _NONE:
            raise FailedError(
                f"HEAD by {who}: 204 with Content-Length {head.length}, which containerd believes",
                "where the gateway doesn't count, no setting helps: containerd can't pull by"
                " digest; where it counts, MOORAGE_HEAD_STRATEGY=body does",
            )
    elif head.digest and not head.right:
        raise FailedError(f"HEAD of a manifest by {who}, with a digest: {head}", _SET_REDIRECT)
    elif head.length not in {"0", _NONE} and not head.right:
        raise FailedError(f"HEAD of a manifest by {who}: {head}")


def right_strategy(visit: Visit) -> str:
    """Return the strategy for HEAD that is right for this gateway: `body` where it counts the body.

    It shows at the token endpoint, whose HEAD is its GET, with no login and with either strategy.
    Raises FailedError where it doesn't, and one of BROKEN.
    """
    got, head = (visit.ask(method, _TOKEN, who={}) for method in ("GET", "HEAD"))
    seen = HeadAnswer.of(head, len(got.body))
    # Only the function answers so, with a token or, where the registry is open, with none.
    functions = "token" in got.json() or error_code(got) == ErrorCode.UNSUPPORTED.code
    if head.status == got.status and functions:
        if seen.right:
            return "body"
        if seen.length in {"0", _NONE}:
            return "redirect"
    raise FailedError(
        f"HEAD of {_TOKEN}: {seen.plain}; GET: {quoted(got)}", unexpected(head) or unexpected(got)
    )


def head_strategy(visit: Visit) -> Finding:
    """Find which strategy is set, and which one is right for this gateway."""
    right = right_strategy(visit)
    visit.facts["gateway_counts_head"] = right == "body"
    blob = visit.ask("HEAD", visit.v2(f"blobs/{visit.sample.digest}"))
    if blob.status not in {200, 307}:
        raise _wrong_status("HEAD of a blob", blob)
    # The push proxy answers for S3, and leaves the redirect's header.
    redirected = blob.status == 307 or _REDIRECTED in blob.headers  # noqa: PLR2004 - a redirect
    now = "redirect" if redirected else "body"
    visit.facts["head_strategy"] = right
    counts = right == "body"
    does = "counts" if counts else "doesn't count"
    seen = f"the gateway {does} a HEAD's body: `{right}` is right, `{now}` is set"
    if now == right:
        return ok(seen)
    if counts:
        return warn(seen, _SET_BODY)
    raise FailedError(seen, _SET_REDIRECT)
