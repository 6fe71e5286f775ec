"""`moorage destroy`: takes a registry down. Its data stays, unless it is said twice that it goes.

This module must never delete data before it is sure that it was meant, nor end a stack whose
bucket or tables are still there: that stack is how a second run finds them. Without a stack it may
take for data only what has the names that a deployment gives by itself, and may never say that all
is gone: what was given another name can't be seen then.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from moorage.common.aws import is_missing, quiet_sdk
from moorage.deploy import DeployError
from moorage.deploy import data as deploy_data
from moorage.deploy.account import Account, Names
from moorage.deploy.bucket import remove, stands
from moorage.deploy.data import BUCKET, TABLE
from moorage.deploy.run import explained, say
from moorage.deploy.stacks import Stack, Stacks


@dataclass(frozen=True, slots=True)
class DestroyOptions:
    """What is to go. `confirmed`: the data stack's name, if it was given beforehand."""

    stage: str
    data: bool = False
    confirmed: str | None = None


@dataclass(frozen=True)
class Demolition:
    """One run of the command, in an account. `ask` puts a question to a person."""

    names: Names
    account: Account
    stacks: Stacks
    echo: Callable[[str], None]
    ask: Callable[[str], str]

    def run(self, options: DestroyOptions) -> str:
        """Do it and return what to print; raises DeployError, and what AWS raises."""
        if options.data:
            self._require_meant(options.confirmed)
        data = self.stacks.find(self.names.data_stack)
        gone = [
            self.stacks.delete(name)
            for name in (self.names.observability_stack, self.names.api_stack)
        ]
        # Only now: CloudFormation takes a stack back to the code that it had.
        gone.append(remove(self.account, self.names.code_bucket(self.account)))
        deleted = self._destroy_data(data) if options.data else []
        if not any(gone) and not deleted:
            raise self._nothing(options)
        if data is None or not data.stands:
            return self._told_without(options, deleted)
        return self._told(options)

    def _require_meant(self, confirmed: str | None) -> None:
        wanted = self.names.data_stack
        if confirmed is None:
            confirmed = self.ask(
                f"Every image, access token and grant of {self.names.stage}, in account"
                f" {self.account.id}, region {self.account.region}, will be gone for good.\n"
                f"Type {wanted} to delete them: "
            )
        if confirmed.strip() != wanted:
            raise DeployError(f"nothing was deleted: that was not {wanted}")

    def _destroy_data(self, stack: Stack | None) -> list[str]:
        """Delete the bucket, the tables, the key and then the stack; return what was there."""
        known = self._in_stack() if stack is not None and stack.stands else self._by_name()
        deleted = [name for kind, name in known if self._delete(kind, name)]
        ssm: Any = self.account.client("ssm")
        # Unlike DeleteParameter this one says nothing of a name that isn't there.
        answer = ssm.delete_parameters(Names=[self.names.signing_key])
        deleted += answer["DeletedParameters"]
        if self.stacks.delete(self.names.data_stack):
            deleted.append(self.names.data_stack)
        return deleted

    def _in_stack(self) -> list[tuple[str, str]]:
        listed = self.stacks.client.describe_stack_resources(StackName=self.names.data_stack)
        return [
            (each["ResourceType"], each["PhysicalResourceId"])
            for each in listed["StackResources"]
            if each.get("PhysicalResourceId")
        ]

    def _by_name(self) -> list[tuple[str, str]]:
        """Return what a deployment's data is called, if nobody gave it other names.

        What a creation that failed lists is left out: it may be what stood in the way, and ours or
        not.
        """
        things = deploy_data.kept(deploy_data.read(), self.names.data_stack, self.account, {})
        return [(each.kind, each.name) for each in things]

    def _delete(self, kind: str, name: str) -> bool:
        if kind == BUCKET and stands(self.account, name):
            self.echo(f"{name}: deleting all objects, and the bucket")
            return remove(self.account, name)
        return kind == TABLE and self._drop_table(name)

    def _drop_table(self, table: str) -> bool:
        dynamodb: Any = self.account.client("dynamodb")
        try:
            found = dynamodb.describe_table(TableName=table)["Table"]
            self.echo(f"{table}: deleting the table")
            if found.get("DeletionProtectionEnabled"):
                dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                dynamodb.get_waiter("table_exists").wait(TableName=table)
            dynamodb.delete_table(TableName=table)
            dynamodb.get_waiter("table_not_exists").wait(TableName=table)
        except ClientError as error:
            if is_missing(error):
                return False
            raise
        return True

    def _nothing(self, options: DestroyOptions) -> DeployError:
        data = ", nor data by the names that a deployment gives" if options.data else ""
        return DeployError(
            f"there is no {self.names.api_stack} in account {self.account.id}, region"
            f" {self.account.region}{data}: is it another stage or region? (`--stage`, AWS_REGION)"
        )

    def _told_without(self, options: DestroyOptions, deleted: list[str]) -> str:
        """Say what became of data that no stack holds."""
        api, stack, stage = self.names.api_stack, self.names.data_stack, self.names.stage
        if not options.data:
            return (
                f"{api} is gone. No stack {stack} stands: a bucket and tables that one left behind"
                f" are kept. `make deploy STAGE={stage}` takes them in again, `make destroy"
                f" STAGE={stage} DATA=delete` deletes them\n"
            )
        found = f"deleted {', '.join(deleted)}" if deleted else "and there was none"
        return (
            f"{api} is gone. No stack {stack} stood to say what its data is, so it was looked for"
            f" by the names that a deployment gives: {found}. A bucket or table that was given"
            " another name would still be there\n"
        )

    def _told(self, options: DestroyOptions) -> str:
        if options.data:
            return f"{self.names.api_stack} is gone, and all its data\n"
        return (
            f"{self.names.api_stack} is gone. Its data is kept in {self.names.data_stack}: `make"
            f" deploy STAGE={self.names.stage}` puts a registry before it again, `make destroy"
            f" STAGE={self.names.stage} DATA=delete` deletes it\n"
        )


def destroy(options: DestroyOptions, environment: Mapping[str, str]) -> str:
    """Take down what the user's AWS settings lead to, and return what to print.

    Raises DeployError.
    """
    quiet_sdk()
    names = Names.of(options.stage)
    with explained():
        account = Account.of(environment)
        say(f"destroying {names.api_stack} in account {account.id}, region {account.region}")
        stacks = Stacks(account.client("cloudformation"), say)
        return Demolition(names, account, stacks, say, _ask).run(options)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()
