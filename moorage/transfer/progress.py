"""The displays of a transfer: bars at a terminal, lines elsewhere, JSON for programs, or nothing.

JSON goes to stdout, and everything else to stderr. Each display is an Observer of the engine.
"""

import json
import math
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from chalicelib.descriptor import Descriptor
from moorage.common.sizes import size_text
from moorage.transfer.content import short

if TYPE_CHECKING:
    from rich.progress import TaskID

# How often a line or an event tells of a blob that is on its way, in seconds.
_LINE_EVERY = 10.0
_EVENT_EVERY = 1.0


@dataclass
class BlobWatch:
    """How far one blob is; see BlobProgress. Its display hears of each change."""

    blob: Descriptor
    kind: str
    display: "Quiet"
    began: float
    told_at: float
    kept_bytes: int = 0
    offset: int = 0

    @property
    def name(self) -> str:
        """What people call it."""
        return f"{self.kind:6} {short(self.blob.digest)}"

    @property
    def rate(self) -> float:
        """Bytes in a second, of those that this run has moved."""
        return (self.offset - self.kept_bytes) / max(time.monotonic() - self.began, 0.001)

    @property
    def pace(self) -> str:
        """The rate, and how long the rest takes at that."""
        if self.offset >= self.blob.size:
            return "being checked"
        left = (self.blob.size - self.offset) / max(self.rate, 1)
        minutes, seconds = divmod(math.ceil(left), 60)
        rest = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        return f"{size_text(self.rate)}/s, {rest} left"

    def kept(self, size: int) -> None:
        """See BlobProgress."""
        self.kept_bytes = self.offset = size
        self.display.resumed(self)

    def moved(self, offset: int) -> None:
        """See BlobProgress."""
        if offset < self.kept_bytes:
            self.kept_bytes = 0
        self.offset = offset
        self.display.advanced(self)


class Quiet:
    """Shows nothing, and counts; the others do the same and show it."""

    def __init__(self) -> None:
        self.watches: dict[str, BlobWatch] = {}
        self.outcomes: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is to be ended."""

    def begin(self, blob: Descriptor, kind: str) -> BlobWatch:
        """See Observer."""
        now = time.monotonic()
        watch = self.watches[str(blob.digest)] = BlobWatch(blob, kind, self, now, now)
        self.began(watch)
        return watch

    def end(self, blob: Descriptor, outcome: str) -> None:
        """See Observer."""
        self.outcomes[str(blob.digest)] = outcome
        self.ended(self.watches[str(blob.digest)], outcome)

    def fetched(self, name: str, size: int) -> None:
        """So much of an image has come from a daemon."""

    def began(self, watch: BlobWatch) -> None:
        """A blob comes next."""

    def resumed(self, watch: BlobWatch) -> None:
        """So much of a blob was kept of an earlier run."""

    def advanced(self, watch: BlobWatch) -> None:
        """More of a blob has arrived."""

    def ended(self, watch: BlobWatch, outcome: str) -> None:
        """A blob is there."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that this run has moved."""
        return sum(each.offset - each.kept_bytes for each in self.watches.values())

    @property
    def kept_bytes(self) -> int:
        """Bytes that were kept of an earlier run."""
        return sum(each.kept_bytes for each in self.watches.values())


class Lines(Quiet):
    """A line for each blob, and some for one that takes long: for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._told_at = time.monotonic()

    def fetched(self, name: str, size: int) -> None:
        """See Quiet."""
        if time.monotonic() - self._told_at >= _LINE_EVERY:
            self._told_at = time.monotonic()
            _say(f"{name}  {size_text(size)} from the daemon")

    def resumed(self, watch: BlobWatch) -> None:
        """See Quiet."""
        whole = size_text(watch.blob.size)
        _say(f"{watch.name}  goes on: {size_text(watch.kept_bytes)} of {whole} were kept")

    def advanced(self, watch: BlobWatch) -> None:
        """See Quiet."""
        now = time.monotonic()
        if now - watch.told_at >= _LINE_EVERY and watch.offset < watch.blob.size:
            watch.told_at = now
            whole = size_text(watch.blob.size)
            _say(f"{watch.name}  {size_text(watch.offset)} of {whole}, {watch.pace}")

    def ended(self, watch: BlobWatch, outcome: str) -> None:
        """See Quiet."""
        _say(_last_line(watch, outcome))


class JsonLines(Quiet):
    """One JSON object a line for each event, the last of them `done`."""

    def began(self, watch: BlobWatch) -> None:
        """See Quiet."""
        self._event("begin", watch, kind=watch.kind)

    def resumed(self, watch: BlobWatch) -> None:
        """See Quiet."""
        self._event("kept", watch, bytes=watch.kept_bytes)

    def advanced(self, watch: BlobWatch) -> None:
        """See Quiet."""
        now = time.monotonic()
        if now - watch.told_at >= _EVENT_EVERY and watch.offset < watch.blob.size:
            watch.told_at = now
            self._event("progress", watch, bytes=watch.offset, rate=int(watch.rate))

    def ended(self, watch: BlobWatch, outcome: str) -> None:
        """See Quiet."""
        self._event("end", watch, outcome=outcome)

    def _event(self, event: str, watch: BlobWatch, **more: object) -> None:
        named = {"event": event, "digest": str(watch.blob.digest), "size": watch.blob.size}
        show_event({**named, **more})


class Bars(Quiet):
    """At a terminal: a bar for each moving blob, and above them a line for each finished one.

    So the bars fit the terminal, however many layers an image has.
    """

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import (  # noqa: PLC0415 - likewise
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
        )
        from rich.table import Column  # noqa: PLC0415 - likewise

        # The bar alone becomes narrower where a terminal is: a wrapped line is none.
        whole = Column(no_wrap=True)
        self._bars: Progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=whole),
            BarColumn(bar_width=24),
            DownloadColumn(table_column=whole.copy()),
            TextColumn("{task.fields[status]}", markup=False, table_column=whole.copy()),
            console=Console(stderr=True),
        )
        self._tasks: dict[str, TaskID] = {}

    def fetched(self, name: str, size: int) -> None:
        """See Quiet."""
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=None, status="from the daemon")
        self._bars.update(self._tasks[name], completed=size)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def began(self, watch: BlobWatch) -> None:
        """See Quiet."""
        key = str(watch.blob.digest)
        self._tasks[key] = self._bars.add_task(watch.name, total=watch.blob.size, status="")

    def resumed(self, watch: BlobWatch) -> None:
        """See Quiet."""
        task = self._tasks[str(watch.blob.digest)]
        self._bars.reset(task, completed=watch.kept_bytes)
        self._bars.update(task, status=f"{size_text(watch.kept_bytes)} were kept", refresh=True)

    def advanced(self, watch: BlobWatch) -> None:
        """See Quiet."""
        task = self._tasks[str(watch.blob.digest)]
        self._bars.update(task, completed=watch.offset, status=watch.pace)

    def ended(self, watch: BlobWatch, outcome: str) -> None:
        """See Quiet."""
        self._bars.remove_task(self._tasks[str(watch.blob.digest)])
        self._bars.console.out(_last_line(watch, outcome), highlight=False)


def display(*, quiet: bool, as_json: bool) -> Quiet:
    """Return the display that was asked for, or the one that fits where stderr goes."""
    if as_json:
        return JsonLines()
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


def show_event(event: dict[str, object]) -> None:
    """Print one event for programs."""
    sys.stdout.write(f"{json.dumps(event)}\n")
    sys.stdout.flush()


def _last_line(watch: BlobWatch, outcome: str) -> str:
    return f"{watch.name}  {size_text(watch.blob.size):>8}  {_words(watch, outcome)}"


def _words(watch: BlobWatch, outcome: str) -> str:
    words = {"there": "is there already", "mounted": "mounted"}.get(outcome, "done")
    return f"{words}, {size_text(watch.kept_bytes)} were kept" if watch.kept_bytes else words


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
