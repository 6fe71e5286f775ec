"""The name of a registry's table `access`: given, or found."""

from moorage.access.admin import AdminError
from moorage.common.aws import Aws
from moorage.common.data import DataNames

_EXPORT = "AccessTableName"


def table_name(aws: Aws, table: str | None, stack: str) -> str:
    """Return the name of the registry's table `access`; raises AdminError, BotoCoreError.

    It is the one that is given, a local registry's own, or what the data stack exports.
    """
    if table:
        return table
    if aws.endpoint is not None:
        return DataNames().access_table
    wanted = f"{stack}-{_EXPORT}"
    client = aws.client("cloudformation")
    for page in client.get_paginator("list_exports").paginate():
        for export in page["Exports"]:
            if export["Name"] == wanted:
                return str(export["Value"])
    raise AdminError(
        f"CloudFormation has no export {wanted} in {client.meta.region_name}: name the data stack"
        " by --stack or the table by --table, or set AWS_REGION and AWS_PROFILE to where it is"
    )
