"""The pairs of requests that race, one row for each: where, who, and what holds after.

This module must never hold code: what a body does stands in tests.drills.pair_steps.
"""

from __future__ import annotations

from chalicelib.digest import Algorithm, Digest
from tests.drills import images
from tests.drills.pair_steps import (
    OTHER,
    cancelling,
    deleting,
    deleting_layer,
    deleting_manifest,
    ending_soon,
    filling_and_putting,
    holds_one_of,
    in_turn,
    mounting,
    nothing,
    patching,
    pullable_from,
    putting,
    putting_index,
    tagged,
    tagging,
    working,
)
from tests.drills.races import Race
from tests.drills.steps import (
    AWAY,
    HOME,
    TEXT,
    leased,
    opened,
    pushed,
    pushed_away,
    pushing,
    sealed,
    sweeping,
    worked,
)
from tests.drills.support.worlds import BY_WORKER

SHA512 = Algorithm.SHA512
MIXED = TEXT[:15] + OTHER[15:]
NEW, OLD = str(Digest.of(images.NEW)), str(Digest.of(images.OLD))
HOURS = 2 * 3600.0
WEEK = 8 * 24 * 3600.0
WHOLE_HOME, WHOLE_AWAY = pushing(whole=True), pushing(whole=True, repository=AWAY)

# A row of the tables has a line or two, which formatting would make six.
# fmt: off
UPLOADS = [
    Race("PATCH, PATCH, same bytes", opened(), [patching(TEXT, 0, 5)] * 2, holds_one_of(TEXT[:5])),
    Race("PATCH, PATCH, other bytes", opened(),
         [patching(TEXT, 0, 5), patching(OTHER, 0, 5)], holds_one_of(TEXT[:5], OTHER[:5])),
    Race("PATCH, PATCH, parts of other bytes", opened(12, 3),
         [patching(TEXT, 15, 25), patching(MIXED, 15, 25)], holds_one_of(TEXT[:25], MIXED[:25])),
    Race("PATCH, PUT", opened(12, 3),
         [patching(TEXT, 15, 20), putting(TEXT[:15], 15, right=False)],
         holds_one_of(TEXT[:20], TEXT[:15])),
    Race("PATCH, PUT with a body", opened(3),
         [patching(TEXT, 3, 6), putting(TEXT[:9], 3, right=False)],
         holds_one_of(TEXT[:9], TEXT[:6])),
    Race("PUT, PUT", opened(12, 3), [putting(TEXT[:15], 15)] * 2),
    Race("PUT, PUT, small", opened(3), [putting(TEXT[:3], 3)] * 2),
    Race("PUT, wrong PUT", opened(12, 3),
         [putting(TEXT[:15], 15), putting(OTHER[:15], 15, right=False)]),
    Race("PUT, wrong PUT, small", opened(3),
         [putting(TEXT[:3], 3), putting(OTHER[:3], 3, right=False)]),
    Race("PUT, PUT, small, other bodies", opened(),
         [putting(TEXT[:5], 0, right=False), putting(OTHER[:5], 0, right=False)]),
    Race("PUT, wrong PUT, unhashed", opened(12, 3),
         [putting(TEXT[:15], 15, algorithm=SHA512),
          putting(OTHER[:15], 15, right=False, algorithm=SHA512)]),
    Race("PUT, PUT, unhashed, other bodies", opened(12),
         [putting(TEXT[:20], 12, right=False, algorithm=SHA512),
          putting(TEXT[:12] + OTHER[12:20], 12, right=False, algorithm=SHA512)]),
    Race("PUT of a body, wrong PUT, unhashed, by a worker", worked(20, 20),
         [putting(TEXT[:50], 40, right=False, algorithm=SHA512),
          putting(OTHER[:40], 40, right=False, algorithm=SHA512)], limits=BY_WORKER),
    Race("PUT, wrong PUT, unhashed, by a worker", worked(20, 20),
         [putting(TEXT[:40], 40, algorithm=SHA512),
          putting(OTHER[:40], 40, right=False, algorithm=SHA512)], limits=BY_WORKER),
    Race("PUT, wrong PUT, by a worker", worked(20, 20),
         [putting(TEXT[:40], 40), putting(OTHER[:40], 40, right=False)], limits=BY_WORKER),
    Race("PUT, PUT, two algorithms", opened(12, 3),
         [putting(TEXT[:15], 15, right=False, algorithm=SHA512),
          putting(TEXT[:15], 15, right=False)]),
    Race("DELETE, PUT", opened(12, 3), [cancelling, putting(TEXT[:15], 15, right=False)]),
    Race("DELETE, PUT small", opened(3), [cancelling, putting(TEXT[:3], 3, right=False)]),
    Race("DELETE, PUT of a body", opened(), [cancelling, putting(TEXT[:3], 0, right=False)]),
    Race("DELETE, PATCH", opened(12, 3), [cancelling, patching(TEXT, 15, 25)]),
    Race("DELETE, DELETE", opened(12, 3), [cancelling] * 2),
    Race("PUT, worker", sealed, [putting(TEXT[:15], 15), working]),
    Race("takeover, takeover", leased(3), [patching(TEXT, 3, 6), patching(OTHER, 3, 6)],
         holds_one_of(TEXT[:6], TEXT[:3] + OTHER[3:6])),
]

LATE = [
    Race("late tail", opened(12, 3), [patching(MIXED, 15, 18), patching(TEXT, 15, 18)],
         holds_one_of(TEXT[:18], MIXED[:18]), late=True),
    Race("late part", opened(12, 3), [patching(MIXED, 15, 25), patching(TEXT, 15, 25)],
         holds_one_of(TEXT[:25], MIXED[:25]), late=True),
    Race("late first part", opened(), [patching(OTHER, 0, 9), filling_and_putting(9, end=20)],
         holds_one_of(TEXT[:20], OTHER[:9]), late=True),
    Race("late part, and the rest", opened(12, 3),
         [patching(MIXED, 15, 25), putting(TEXT[:25], 15, right=False)],
         holds_one_of(TEXT[:25], MIXED[:25]), late=True),
    Race("late PUT, small", opened(3),
         [putting(TEXT[:6], 3, right=False), putting(TEXT[:3] + OTHER[3:6], 3, right=False)],
         late=True),
    Race("late PUT", opened(12, 3), [putting(TEXT[:15], 15)] * 2, late=True),
    Race("late small PUT", opened(3), [putting(TEXT[:3], 3)] * 2, late=True),
    Race("late PUT, the same pushed elsewhere", opened(20, 35), [putting(TEXT, 55), WHOLE_AWAY],
         late=True),
    Race("late whole POST", pushed_away, [WHOLE_HOME] * 2, late=True),
]

BLOBS = [
    Race("one blob to two repositories", opened(), [WHOLE_HOME, WHOLE_AWAY],
         pullable_from(HOME, AWAY)),
    Race("one blob to two repositories, in parts", opened(),
         [pushing(20, 35), pushing(55, repository=AWAY)], pullable_from(HOME, AWAY)),
    Race("one blob to one repository", opened(), [pushing(55), WHOLE_HOME], pullable_from(HOME)),
    Race("mount, delete at the source", pushed_away, [mounting, deleting(AWAY)]),
    Race("mount, mount", pushed_away, [mounting] * 2, pullable_from(HOME, AWAY)),
    Race("push, delete", pushed, [WHOLE_HOME, deleting(HOME)],
         in_turn(WHOLE_HOME, pullable_from(HOME, AWAY))),
    Race("delete, delete", pushed, [deleting(HOME)] * 2, pullable_from(AWAY)),
    Race("delete, delete elsewhere", pushed, [deleting(HOME), deleting(AWAY)],
         in_turn(WHOLE_HOME, pullable_from(HOME))),
]

MANIFESTS = [
    Race("tag, tag", images.layers, [tagging(images.OLD), tagging(images.NEW)]),
    Race("tag moves, tag moves", images.tagged_before,
         [tagging(images.NEW), tagging(images.OTHER)]),
    Race("tag moves, tag is deleted", images.tagged_before,
         [tagging(images.NEW), deleting_manifest("v1")]),
    Race("tag moves, old manifest is deleted", images.tagged_before,
         [tagging(images.NEW), deleting_manifest(OLD)], tagged(images.NEW)),
    Race("put, delete", images.live, [tagging(images.NEW), deleting_manifest(NEW)],
         in_turn(tagging(images.NEW), tagged(images.NEW))),
    Race("delete, delete", images.live, [deleting_manifest(NEW)] * 2,
         in_turn(tagging(images.NEW), tagged(images.NEW))),
    Race("delete, delete and put and delete", images.live,
         [deleting_manifest(NEW),
          in_turn(deleting_manifest(NEW), tagging(images.NEW), deleting_manifest(NEW))]),
    Race("put, put", images.layers, [tagging(images.NEW)] * 2, tagged(images.NEW)),
    Race("put, a layer is deleted", images.layers,
         [tagging(images.NEW, may_lack=True), deleting_layer]),
    Race("put an index, its image is deleted", images.live,
         [putting_index, deleting_manifest(NEW)]),
]

SWEEPS = [
    Race("PUT, sweeper", sealed, [putting(TEXT[:15], 15), sweeping()]),
    Race("sweeper, sweeper", sealed, [sweeping(), sweeping()]),
    Race("PATCH, sweeper", ending_soon(12, 3), [patching(TEXT, 15, 20), sweeping(20)]),
    Race("PUT, sweeper at the end", ending_soon(12, 3),
         [putting(TEXT[:15], 15, right=False), sweeping(20)]),
    Race("PUT small, sweeper past its lease", ending_soon(3),
         [putting(TEXT[:3], 3, right=False), sweeping(60)]),
    Race("PUT of a body, sweeper past its lease", ending_soon(),
         [putting(TEXT[:3], 0, right=False), sweeping(60)]),
    Race("PUT, sweeper past its lease", ending_soon(12, 3),
         [putting(TEXT[:20], 15, right=False), sweeping(60)]),
    Race("POST whole, sweeper past its lease", nothing, [WHOLE_HOME, sweeping(WEEK)]),
    Race("DELETE, sweeper at the end", ending_soon(12, 3), [cancelling, sweeping(20)]),
    Race("sweeper, sweeper at the end", ending_soon(12, 3), [sweeping(20), sweeping(0)]),
    Race("push, sweeper", opened(), [pushing(55), sweeping(HOURS)], pullable_from(HOME)),
    Race("put, sweeper", images.layers, [tagging(images.NEW), sweeping(HOURS)],
         tagged(images.NEW)),
    Race("put on a deletion, sweeper", images.half_deleted,
         [tagging(images.NEW), sweeping(HOURS)], tagged(images.NEW)),
    Race("delete, sweeper", images.live, [deleting_manifest(NEW), sweeping(HOURS)]),
]
# fmt: on

ALL = [*UPLOADS, *LATE, *BLOBS, *MANIFESTS, *SWEEPS]
