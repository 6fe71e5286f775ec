"""`moorage usage`: moorage.usage does it, with AWS credentials. No logic may live here."""
# ruff: noqa: PLC0415 - it imports what it runs when it runs

import click

from moorage.cli import output
from moorage.cli.command import Command
from moorage.cli.options import URL, option


@click.command(cls=Command)
@option("--cost", None, "also what that costs a month")
@option("--bucket", "NAME", "the registry's bucket", None, "MOORAGE_BUCKET")
@option("--table registry_table", "NAME", "its table `registry`", None, "MOORAGE_REGISTRY_TABLE")
@option("--uploads-table", "NAME", "its table `uploads`", None, "MOORAGE_UPLOADS_TABLE")
@option("--stack", "NAME", "the data stack, which exports these names", "moorage-data")
@option("--aws-endpoint endpoint", URL, "an emulator of AWS, as `moorage local` names it")
@option("--json as_json", None, "print JSON")
def usage(  # noqa: PLR0913 - all its options
    *,
    cost: bool,
    bucket: str | None,
    registry_table: str | None,
    uploads_table: str | None,
    stack: str,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Show whose the bytes in the bucket are: by repository, in the trash, on their way in or out.

    A blob that several repositories link to is divided among them evenly, so that all sums to what
    the bucket has. It reads the tables and lists the bucket, with your AWS credentials.
    """
    from moorage.usage import run

    registry = run.OwnedRegistry(stack, bucket, registry_table, uploads_table, endpoint)
    with output.progress("reading the tables and the bucket"):
        found = registry.usage()
    output.show(run.listing(found, cost=cost), as_json=as_json, empty="the bucket is empty")
    for line in run.told(found, cost=cost):
        output.say(line)
