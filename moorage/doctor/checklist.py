"""The checks of `moorage doctor`, in one table: name, function, reason, advice, and what it needs.

This module must never do any I/O.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from moorage.doctor.answers import KEEP_LOCATION
from moorage.doctor.checks import (
    access,
    blobs,
    deletes,
    direct,
    edge,
    heads,
    manifests,
    sizes,
    uploads,
)
from moorage.doctor.findings import Finding, Status
from moorage.doctor.visit import Visit


@dataclass(frozen=True, slots=True)
class Check:
    """One check. It is skipped where a check that it `needs` has failed or was skipped for that.

    `run` raises FailedError, and OSError or HTTPException where the connection fails.
    """

    name: str
    run: Callable[[Visit], Finding]
    why: str
    todo: str
    """What to do where it fails, unless the finding says something else."""
    needs: Sequence[str] = ()
    breaks: bool = False
    """Whether `todo` is right for a broken connection too; most checks look at something else."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check and its finding."""

    check: Check
    finding: Finding

    @property
    def todo(self) -> str:
        """What to do about it; empty where there is nothing to do."""
        if self.finding.status in {Status.OK, Status.SKIP}:
            return self.finding.todo or ""
        return self.finding.todo or self.check.todo


_HEAD_UNTOUCHED = (
    "look into the function's log; a proxy or CDN before the registry must pass HEAD on as it is,"
    " and not answer for it"
)

CHECKS: Sequence[Check] = (
    Check(
        "reach",
        access.reach,
        "Clients refuse a registry whose certificate they can't verify, and one without TLS unless"
        " it is on their own machine.",
        "look at the address, at the DNS record of the domain, and at its certificate in ACM: it"
        " must name this very host",
        breaks=True,
    ),
    Check(
        "version",
        access.version,
        "Clients know a registry by this answer. 403 means that the path or the stage is wrong.",
        "the registry must live at /v2/ of its host: name the stage `v2`, and map the path `v2`"
        " of a domain to it",
        ("reach",),
    ),
    Check(
        "challenge",
        access.challenge,
        "Clients learn from the challenge where to log in; docker, containerd, skopeo, oras and"
        " regctl fail without it. An open registry is everybody's.",
        "deploy with the merge template's GatewayResponses, whose UNAUTHORIZED carries the"
        " challenge, and with PublicUrl set to this address",
        ("reach", "version"),
    ),
    Check(
        "token",
        access.token,
        "A push or a pull needs a token with the right grants.",
        "look into the function's log; docs/access.md says how to grant",
        ("challenge",),
    ),
    Check(
        "refusal",
        access.refusal,
        "A client without a valid login must be kept out.",
        "take the registry off the internet: its authorizer lets unknown clients in",
        ("challenge",),
    ),
    Check(
        "clock",
        access.clock,
        "Tokens and presigned URLs expire. A client whose clock is wrong takes a good token for an"
        " expired one, and a certificate too.",
        "set this machine's clock (NTP): AWS's is right",
        ("reach",),
    ),
    Check(
        "scratch",
        uploads.scratch,
        "The doctor pushes tags of its own, and deletes them again.",
        "name a --repository that nobody uses",
        ("token",),
    ),
    Check(
        "location",
        uploads.location,
        "Clients go where Location says. On another host they send no credentials, or refuse to go"
        " (oras), or send them to a stranger (skopeo).",
        KEEP_LOCATION,
        ("scratch",),
    ),
    Check(
        "upload",
        uploads.upload,
        "Small blobs are pushed this way.",
        "look into the function's log for the request's id",
        ("scratch",),
    ),
    Check(
        "chunks",
        uploads.chunks,
        "A layer above 4.5 MB travels in chunks. docker takes a layer's size from Range; a chunk"
        " that is stored twice is a broken layer.",
        "a proxy or CDN before the registry must pass PATCH, Content-Range and Range on unchanged",
        ("upload",),
    ),
    Check(
        "streamed",
        uploads.streamed,
        "docker and podman push each layer in one PATCH of unknown length.",
        "a proxy before the registry must take a body without Content-Length (HTTP/1.1 chunked);"
        " clients can push through `moorage proxy`",
        ("upload",),
        breaks=True,
    ),
    Check(
        "untyped",
        uploads.untyped,
        "docker sends layers without Content-Type, by which API Gateway decides whether a body is"
        " bytes.",
        "API Gateway: binaryMediaTypes must be */*; a proxy or firewall before the registry must"
        " take a body without Content-Type",
        ("upload",),
    ),
    Check(
        "wrong-digest",
        uploads.wrong_digest,
        "The digest protects the content; a client that named a wrong one must be able to go on.",
        "a proxy or CDN before the registry must pass the registry's errors on as they are, and"
        " must not answer for it",
        ("upload",),
    ),
    Check(
        "resume",
        uploads.resume,
        "Connections break. The bytes that the registry says it has must be there, or a client"
        " that goes on after them makes a broken layer.",
        "no proxy or CDN before the registry may answer for it or cache its answers",
        ("chunks",),
        breaks=True,
    ),
    Check(
        "sizes",
        sizes.sizes,
        "A layer that is larger than one request must travel in chunks, and `moorage proxy` cuts"
        " them at 4 MiB.",
        "find out what refuses: a firewall (WAF) or a proxy before the registry has a limit of its"
        " own, which must be 5 MB at least; after a 5xx, look into the function's log",
        ("upload",),
    ),
    Check(
        "bytes",
        blobs.same_bytes,
        "A layer with one byte changed, unpacked or packed has another digest: clients refuse it.",
        "API Gateway: binaryMediaTypes must be */*, and minimumCompressionSize unset; a CDN before"
        " it must not compress",
        ("upload",),
    ),
    Check(
        "accept",
        blobs.accept,
        "API Gateway decides by the first type in Accept whether an answer is bytes; Go programs"
        " send none.",
        "API Gateway: binaryMediaTypes must be */*. Until it is, `make deploy INLINE_LIMIT=0` has"
        " every blob come from S3 instead",
        ("upload",),
    ),
    Check(
        "range",
        blobs.byte_range,
        "Clients go on in the middle of a layer after a broken connection, and some read parts.",
        "a proxy or CDN before the registry must pass Range on, and cache no answers",
        ("upload",),
    ),
    Check(
        "redirect",
        blobs.redirect,
        "Large blobs come from S3 by a presigned URL: it must work for clients that send no"
        " Authorization there, and give access to nothing else.",
        "look at the bucket's policy; a proxy or CDN before the registry must not follow redirects"
        " itself, and clients must reach S3",
        ("upload",),
    ),
    Check(
        "direct",
        direct.direct,
        "A direct upload goes to S3 by a presigned URL. S3 must compare the bytes with the digest,"
        " and write over nothing, or a client stores what nobody named.",
        "put nothing before S3 that answers for it: it must be S3 itself, or a store that checks"
        " `x-amz-checksum-sha256`, `If-None-Match` and signatures as S3 does",
        ("upload",),
    ),
    Check(
        "direct-parts",
        direct.parts,
        "Large layers go to S3 in parts, which S3 compares with nothing: the registry has to read"
        " what it publishes.",
        "put nothing before the registry that answers for it, and see what the log says of the PUT"
        " that commits",
        ("upload",),
    ),
    Check(
        "edge-put",
        edge.put,
        "docker 29, buildx, containerd, oras, helm and regctl push a layer by one PUT: the edge"
        " sends it to S3, which compares the bytes, and leads the client on to the commit.",
        "see `moorage deploy --edge yes`, and docs/edge.md",
        ("upload",),
    ),
    Check(
        "edge-get",
        edge.get,
        "Layers come from the cache of the edge, by an address that the registry has signed.",
        "see that the distribution's behaviour for /v2/*/blobs/sha*:*~* has the bucket as its"
        " origin, and the function: run `moorage deploy` again"
        "; until then `moorage deploy --edge no`: the registry works without an edge",
        ("edge-put",),
    ),
    Check(
        "missing",
        blobs.missing,
        "Clients ask whether a blob is there before they push it: 200 for one that is missing makes"
        " an image that nobody can pull. They show the error's message to people.",
        "a proxy or CDN before the registry must not answer for it, nor replace its errors by pages"
        " of its own",
        ("token",),
    ),
    Check(
        "paths",
        blobs.paths,
        "Names of repositories have slashes, and some clients encode what others don't.",
        "a proxy or CDN before the registry must pass the path on as it was sent",
        ("upload",),
    ),
    Check(
        "blob-head",
        heads.blob_head,
        "docker, podman and buildah write the length of a HEAD's answer into the manifests that"
        " they push.",
        _HEAD_UNTOUCHED,
        ("upload",),
    ),
    Check(
        "manifest-head",
        heads.manifest_head,
        "Clients believe the length beside a digest: with a wrong one containerd can't pull, oras"
        " and regctl attach to a size of 0. Without a digest go-containerregistry can't push over a"
        " tag.",
        "something before the registry changes Content-Length or Docker-Content-Digest: it must"
        " pass HEAD on as it is",
        ("upload",),
    ),
    Check(
        "head-strategy",
        heads.head_strategy,
        "Which strategy is right depends on whether the gateway counts the body of a HEAD's answer."
        " docs/clients.md has both.",
        _HEAD_UNTOUCHED,
        ("upload",),
    ),
    Check(
        "manifest",
        manifests.manifest,
        "A manifest is an image, and the image's digest is that of the manifest's bytes.",
        "a proxy or CDN before the registry must not change bodies, Content-Type or"
        " Docker-Content-Digest",
        ("upload",),
    ),
    Check(
        "tags",
        manifests.tags,
        "Clients list tags page by page, as Link says. Where Link is lost, or leads past a custom"
        " domain, they miss tags and don't notice.",
        "a proxy or CDN before the registry must pass Link and the query on as they are; the path"
        " `v2` of a custom domain must be mapped to the stage `v2`",
        ("manifest",),
    ),
    Check(
        "referrers",
        manifests.referrers,
        "Clients find signatures and bills of materials by this list.",
        "a proxy or CDN before the registry must pass OCI-Subject on, and cache no lists",
        ("manifest",),
    ),
    Check(
        "mount",
        manifests.mount,
        "A mount saves the upload of a layer that another repository has.",
        "a proxy or CDN before the registry must pass the query on; the token must be for both"
        " repositories",
        ("upload",),
    ),
    Check(
        "no-leak",
        access.no_leak,
        "Answers that differ tell strangers what is there.",
        "no proxy or CDN before the registry may answer for it or cache its answers",
        ("upload", "refusal"),
    ),
    Check(
        "delete",
        deletes.delete,
        "A leaked secret in an image stays public while the deleted image can be pulled.",
        "no proxy or CDN before the registry may cache answers; look into the function's log",
        ("upload",),
    ),
    Check(
        "cleanup",
        deletes.cleanup,
        "The blobs and tags that the doctor pushed are of no use to anybody.",
        "delete what is left, by a client or with `--repository` and the same name again",
    ),
)
"""Every check, in the order in which they run, after those that it needs; the last always runs."""
