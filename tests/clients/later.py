"""``python -m tests.clients.later URL DAYS``: what sweeper and collector do after so many days.

They run in this process, over the data of a local registry at that URL of its AWS, with a clock
that is ahead. It prints how the collector's last pass ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from chalicelib.clock import SystemClock
from chalicelib.registry.tickets import FixedKeys
from chalicelib.settings import Settings
from chalicelib.wiring.assembly import Clients, assembled, limits_of
from moorage.common.aws import Aws
from moorage.common.data import DataNames
from tests.support.registries import RecordedWorkers

DAY = 24 * 3600.0
_LONGEST = 600.0
_PASSES, _TRIES = 2, 20
"""How many passes are to come to their end: the registry's own collector may go on with one."""


class LaterClock(SystemClock):
    """A clock that is ahead, by seconds."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead

    def now(self) -> float:
        """Seconds since the epoch."""
        return super().now() + self._ahead


def main() -> int:
    """Do what is asked for, and sweep until nothing is due."""
    parser = argparse.ArgumentParser(prog="python -m tests.clients.later", description=__doc__)
    parser.add_argument("aws")
    parser.add_argument("days", type=float)
    parser.add_argument("--expire", action="store_true", help="a run of retention, before all")
    parser.add_argument("--collect", action="store_true", help="two passes of the collector, too")
    options = parser.parse_args()
    names, aws, ahead = DataNames(), Aws(options.aws), options.days * DAY
    config = Settings(names.bucket, names.registry_table, names.uploads_table)
    clients = Clients(aws.client("s3"), aws.client("dynamodb"))
    clock, keys = LaterClock(ahead), FixedKeys.of("nothing is uploaded here")
    registry = assembled(config, limits_of(config), clients, clock, RecordedWorkers(), keys)
    until = time.time() + ahead + _LONGEST
    if options.expire:
        expired = registry.retention.run(until, anew=True)
        print(json.dumps({"finished": expired.finished, "manifests": expired.manifests}))
    for _ in range(3):
        registry.sweeper.sweep(until)
    whole = 0
    for _ in range(_TRIES * options.collect):
        report = registry.collector.pass_now(until)
        print(json.dumps({"finished": report.finished, "errors": report.errors}))
        whole += report.finished
        if whole == _PASSES:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
