"""Every operation that the drills stop, fail and repeat, one row for each.

An operation is what a client does, through the API, after an undisturbed preparation. This module
must never hold code: what a row does stands in tests.drills.steps and tests.drills.images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from chalicelib.digest import Algorithm
from chalicelib.registry.session import UploadState
from tests.drills import images
from tests.drills.steps import (
    AWAY,
    HOME,
    TEXT,
    asking_status,
    cancelling,
    changed,
    closed_in_vain,
    closing,
    committed_disturbed,
    deleting_blob,
    elsewhere,
    filling,
    heading,
    leased,
    left,
    mounting,
    opened,
    pulling,
    pushed,
    pushed_away,
    pushing,
    refused,
    resuming,
    robbed,
    sealed,
    sweeping,
    waiting,
    worked,
)
from tests.drills.support.worlds import BY_WORKER, SMALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.registry.service import Limits
    from tests.drills.support.client import Client, Stage


@dataclass(frozen=True)
class Operation:
    """What a client does to what was prepared, e.g. a session's id."""

    name: str
    act: Callable[[Client, Any], object]
    prepare: Callable[[Stage], Any] = lambda _stage: None
    limits: Limits = SMALL


DAYS = 24 * 8
"""In hours: past the life of a session, and of what a link's last use is worth."""
SMALL_BODY = SMALL._replace(body_inline=64)
SHA512 = Algorithm.SHA512
ASSEMBLED, VERIFIED, COPIED = UploadState.ASSEMBLED, UploadState.VERIFIED, UploadState.COPIED
SHORT = TEXT[:20]
"""Parts and a tail, and below what one copy takes."""

# A row has one line or two, of which formatting would make six.
# fmt: off
UPLOADS = [
    Operation("start", lambda client, _: client.start(HOME)),
    Operation("POST whole", pushing(whole=True)),
    Operation("POST whole sha512", pushing(whole=True, algorithm=SHA512)),
    Operation("POST whole, nothing", pushing(whole=True, text=b"")),
    Operation("POST whole, already live", pushing(whole=True), pushed),
    Operation("POST whole, live elsewhere", pushing(whole=True, text=SHORT), elsewhere(text=SHORT)),
    Operation("POST, PUT", pushing()),
    Operation("POST, PUT of nothing", pushing(text=b"")),
    Operation("POST, one PATCH, PUT", pushing(len(TEXT))),
    Operation("POST, PATCHes, PUT", pushing(5, 5, 12, 3, 3, 27)),
    Operation("POST, PATCHes, last chunk in the PUT", pushing(12, 5, 20)),
    Operation("POST, small PATCH, last chunk in the PUT", pushing(3, text=TEXT[:7])),
    Operation("POST, wrong digest, right one", pushing(12, 5, wrong_first=True)),
    Operation("append a tail", filling(3), opened()),
    Operation("append to a tail", filling(7), opened(3)),
    Operation("append a part", filling(12), opened()),
    Operation("append a part after a tail", filling(14), opened(12, 1)),
    Operation("append, the 16th", filling(23), opened(8, *(1 for _ in range(14)))),
    Operation("append after a dead request", filling(14), leased(12, 1)),
    Operation("append to an unhashed session", filling(30), changed(12, 5, hash_state=b"?")),
    Operation("append under another name", refused(AWAY, 12, 404), opened(12)),
    Operation("append as another principal", refused(HOME, 12, 404, "mallory"), opened(12)),
    Operation("append the same again", refused(HOME, 0, 416), opened(12)),
    Operation("append after the end", refused(HOME, 12, 404), waiting(opened(12), 24 * 8)),
    Operation("append to a tail that is gone", refused(HOME, 15, 404), robbed(opened(12, 3))),
    Operation("status", asking_status, opened(12, 5)),
    Operation("cancel", cancelling, opened(12, 5)),
    Operation("cancel, nothing sent", cancelling, opened()),
    Operation("cancel after a dead request", cancelling, leased(12, 5)),
]

COMMITS = [
    Operation("commit a tail", closing(TEXT[:5]), opened(5)),
    Operation("commit a tail and a body", closing(TEXT[:9]), opened(5)),
    Operation("commit parts and a tail", closing(TEXT[:20]), opened(12, 8 - 3, 3)),
    Operation("commit parts", closing(TEXT[:20]), opened(12, 8)),
    Operation("commit parts and a body", closing(TEXT[:25]), opened(12, 3)),
    Operation("commit parts after a dead request", closing(TEXT[:25]), leased(12, 3)),
    Operation("commit a tail after a dead request", closing(TEXT[:5]), leased(5)),
    Operation("commit, copied in parts", closing(), opened(20, 20, 15)),
    Operation("commit, already live", closing(), elsewhere(20, 20, 15)),
    Operation("commit a body, already live", closing(), elsewhere()),
    Operation("commit a short body, live elsewhere", closing(SHORT), elsewhere(text=SHORT)),
    Operation("commit a tail and a body, live elsewhere", closing(SHORT), elsewhere(5, text=SHORT)),
    Operation("commit a tail, live elsewhere", closing(TEXT[:5]), elsewhere(5, text=TEXT[:5])),
    Operation("commit parts, live elsewhere", closing(SHORT), elsewhere(12, 8, text=SHORT)),
    Operation("commit nothing as sha512", closing(b"", algorithm=SHA512), opened()),
    Operation("commit as sha512", closing(TEXT[:20], algorithm=SHA512), opened(12, 8)),
    Operation("commit a tail as sha512", closing(TEXT[:5], algorithm=SHA512), opened(5)),
    Operation("commit as sha512, already live", closing(algorithm=SHA512), elsewhere(20, 20, 15)),
    Operation("commit as sha512, wrong digest first",
              closing(TEXT[:20], algorithm=SHA512, wrong_first=True), opened(12, 8)),
    Operation("commit a body as sha512, wrong digest first",
              closing(TEXT[:20], algorithm=SHA512, wrong_first=True), opened(12)),
    Operation("commit unhashed", closing(TEXT[:20]), changed(12, 8, hash_state=b"?")),
    Operation("commit unhashed, wrong digest first",
              closing(TEXT[:20], wrong_first=True), changed(12, 8, hash_state=b"?")),
    Operation("commit a tail unhashed", closing(TEXT[:5]), changed(5, hash_state=b"?")),
    Operation("commit a tail that is gone", closing(TEXT[:15]), robbed(opened(12, 3))),
    Operation("commit staged bytes that are gone", closing(TEXT[:15]), robbed(left(ASSEMBLED))),
    Operation("commit verified bytes that are gone",
              closing(TEXT[:15]), robbed(left(VERIFIED, hash_state=b"?"))),
    Operation("commit by a worker", closing(), worked(20, 20), BY_WORKER),
    Operation("commit by a worker as sha512", closing(algorithm=SHA512), worked(20, 20), BY_WORKER),
    Operation("worker", resuming, closed_in_vain, BY_WORKER),
]

BLOBS = [
    Operation("mount", mounting, pushed_away),
    Operation("mount what is there", mounting, pushed),
    Operation("mount an old blob", mounting, waiting(pushed_away, DAYS)),
    Operation("mount an old blob that is there", mounting, waiting(pushed, DAYS)),
    Operation("pull a blob", pulling, pushed),
    Operation("pull an old blob", pulling, waiting(pushed, DAYS)),
    Operation("HEAD an old blob", heading, waiting(pushed, DAYS)),
    Operation("delete a blob", deleting_blob, pushed),
]

MANIFESTS = [
    Operation("put an image of 150 layers", images.putting(*images.TAGS), images.many_layers),
    Operation("put an image", images.putting("v1"), images.layers),
    Operation("put an image under 31 tags", images.putting(*images.MANY_TAGS), images.layers),
    Operation("put an image anew, move a tag", images.putting("v1"), images.tagged_before),
    Operation("put an image that is there", images.putting("v1"), images.live),
    Operation("put an image that is being deleted", images.putting("v1"), images.half_deleted),
    Operation("put an index", images.putting_index, images.live),
    Operation("put a large manifest", images.putting("v1"), images.layers, SMALL_BODY),
    Operation("put a manifest that lacks a blob", images.lacking),
    Operation("pull a manifest", images.pulling, images.live),
    Operation("delete a tag", images.deleting_tag, images.live),
    Operation("delete a manifest", images.deleting, images.live),
    Operation("delete a manifest, put it anew", images.replacing, images.live),
    Operation("delete a large manifest", images.deleting, images.live, SMALL_BODY),
]

SWEEPS = [
    Operation("sweep, nothing due", sweeping(), opened(12)),
    Operation("sweep an abandoned session", sweeping(), waiting(opened(12, 3), DAYS)),
    Operation("sweep an empty session", sweeping(), waiting(opened(), DAYS)),
    Operation("sweep after a dead request", sweeping(), waiting(leased(12, 3), DAYS)),
    Operation("sweep a sealed session", sweeping(), sealed),
    Operation("sweep a sealed session at its end", sweeping(), waiting(sealed, DAYS)),
    Operation("sweep an assembled session at its end", sweeping(), waiting(left(ASSEMBLED), DAYS)),
    Operation("sweep a verified session at its end",
              sweeping(), waiting(left(VERIFIED, hash_state=b"?"), DAYS)),
    Operation("sweep a copied session at its end", sweeping(), waiting(left(COPIED), DAYS)),
    Operation("sweep a committed session", sweeping(), waiting(committed_disturbed, 2)),
    Operation("sweep a pending manifest", sweeping(), waiting(images.pending, 2)),
    Operation("sweep a manifest half deleted", sweeping(), waiting(images.half_deleted, 2)),
]
# fmt: on

ALL = [*UPLOADS, *COMMITS, *BLOBS, *MANIFESTS, *SWEEPS]
