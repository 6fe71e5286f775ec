"""`moorage gc`: its options. moorage.garbage does the work."""
# ruff: noqa: PLC0415 - it loads the AWS SDK when it runs
# ruff: noqa: ANN401 - click hands options over by name, and a dataclass takes them

from pathlib import Path
from typing import Any

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import DURATION, PATH, option, read_text
from moorage.cli.registry import at_data


@click.command("gc", cls=Command, exclusive=("dry_run", "only"))
@option("--dry-run", None, "show what would be deleted, and delete nothing")
@option("--only", PATH, "delete only what this file lists; --dry-run --json writes such a file")
@option("--json as_json", None, "print JSON, for programs")
@option("--grace", DURATION, "how long blobs that no manifest names are kept", "24h")
@at_data
def collect(*, dry_run: bool, only: Path | None, as_json: bool, **where: Any) -> int:
    """Delete blobs that no image needs; a deployed registry does this by itself once a day.

    The exit status is 1 if something needs your attention.
    """
    from moorage.garbage import texts
    from moorage.garbage.run import GarbageOf, read

    registry = GarbageOf(**where)
    if dry_run:
        with output.progress("looking at what nothing needs") as tell:
            findings = registry.preview(tell)
        if as_json:
            output.show_json(texts.preview_values(findings))
        elif findings:
            output.show(texts.listing(findings), as_json=False, empty="")
        for line in texts.previewed(findings):
            output.say(line)
        return 0
    wanted = None
    if only is not None:
        wanted = read(read_text(only))
    with output.progress("looking at what nothing needs") as tell:
        report = registry.collect(tell, wanted)
    if as_json:
        output.show_json(texts.report_values(report))
    for line in texts.reported(report):
        output.say(line)
    return 0 if texts.is_whole(report) else 1
