"""`moorage usage`: shows what uses the bytes in a registry's bucket, and what they cost.

It runs in this process, with the owner's AWS credentials, and reads everything once. The numbers
that it shows must always add up to the size of the bucket.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from chalicelib.prices import PRICED_ON, REGION, S3_GB_MONTH, stored_for_a_month
from moorage.access.commands import DataPlace
from moorage.common.aws import Aws, explained
from moorage.common.listing import Listing
from moorage.common.sizes import dollars, size_text
from moorage.usage import read
from moorage.usage.sums import NOWHERE, Kind

_OF_REPOSITORIES = (Kind.OWN, Kind.SHARED, Kind.TRASH, Kind.UNUSED, Kind.UPLOADS)
_OF_NONE = {
    Kind.UPLOADS: "(uploads of no repository)",
    Kind.GARBAGE: "(garbage)",
    Kind.UNREFERENCED: "(unreferenced)",
}
_MOST_SAID = 10


@dataclass(frozen=True, slots=True)
class OwnedRegistry(DataPlace):
    """A registry whose data its owner may read."""

    def usage(self) -> read.Usage:
        """Read everything; raises CommandError."""
        with explained():
            aws = Aws(self.endpoint)
            names = self.names(aws)
            tables = (names.registry_table, names.uploads_table)
            data = read.Data(aws.client("s3"), aws.client("dynamodb"), names.bucket, *tables)
        with explained(data.registry_table, "MOORAGE_REGISTRY_TABLE"):
            return read.usage(data)


def listing(usage: read.Usage, *, cost: bool) -> Listing:
    """Return usage as a table, the largest repository first and the sum last, and for JSON."""
    sums = usage.sums
    head = ["REPOSITORY", *(kind.value.upper() for kind in _OF_REPOSITORIES), "SUM"]
    rows = [
        [
            name,
            *(size_text(sums.of(name, kind)) for kind in _OF_REPOSITORIES),
            size_text(sums.of(name)),
        ]
        for name in sums.repositories()
    ]
    nothing = [""] * len(_OF_REPOSITORIES)
    amounts = [sums.of(name) for name in sums.repositories()]
    for kind, what in _OF_NONE.items():
        if size := sums.of(NOWHERE, kind):
            rows.append([what, *nothing, size_text(size)])
            amounts.append(size)
    rows.append(
        ["all", *(size_text(sums.kind(kind)) for kind in _OF_REPOSITORIES), size_text(sums.total)]
    )
    amounts.append(sums.total)
    if cost:
        head.append("USD/MONTH")
        costs = [dollars(stored_for_a_month(size)) for size in amounts]
        rows = [[*row, amount] for row, amount in zip(rows, costs, strict=True)]
    return Listing(head, rows, _values(usage, cost=cost))


def messages(usage: read.Usage, *, cost: bool) -> Sequence[str]:
    """Return what a person has to know beside the table."""
    lost = usage.sums.lost
    said = [f"can't be read: {what}" for what in usage.unread[:_MOST_SAID]]
    if len(usage.unread) > _MOST_SAID:
        said.append(f"and {len(usage.unread) - _MOST_SAID} more that can't be read")
    said += [f"a record names {key}, which is not in the bucket" for key in lost[:_MOST_SAID]]
    if lost:
        said.append(
            f"{len(lost)} blobs have no object: they may have been deleted meanwhile; run it again,"
            " and push what is still named"
        )
    if cost:
        said.append(
            f"storage alone, at {S3_GB_MONTH} USD for a GB and month: the list price of {REGION} on"
            f" {PRICED_ON}"
        )
    return said


def _values(usage: read.Usage, *, cost: bool) -> Mapping[str, object]:
    sums = usage.sums

    def priced(size: int) -> dict[str, float]:
        return {"usd_month": stored_for_a_month(size)} if cost else {}

    repositories = [
        {
            "name": name,
            **{kind.value: sums.of(name, kind) for kind in _OF_REPOSITORIES},
            "bytes": sums.of(name),
            **priced(sums.of(name)),
        }
        for name in sums.repositories()
    ]
    return {
        "at": datetime.fromtimestamp(int(usage.at), UTC).isoformat(),
        "objects": sums.objects,
        "bytes": sums.total,
        **priced(sums.total),
        "repositories": repositories,
        **{kind.value: sums.of(NOWHERE, kind) for kind in _OF_NONE},
        "lost": list(sums.lost),
        "unread": list(usage.unread),
    }
