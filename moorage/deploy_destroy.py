"""`moorage destroy`: takes a registry down. Its data stays, unless it is said twice that it goes.

This module must never delete data before it is sure that it was meant, nor end a stack whose
bucket or tables are still there: that stack is how a second run finds them.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from moorage.access_aws import quiet_sdk
from moorage.deploy import say
from moorage.deploy_account import Account, Names
from moorage.deploy_bucket import remove
from moorage.deploy_errors import DeployError
from moorage.deploy_stacks import Stacks

_TABLE: Final = "AWS::DynamoDB::Table"
_BUCKET: Final = "AWS::S3::Bucket"
_GONE: Final = frozenset({"ResourceNotFoundException", "TableNotFoundException"})


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
        gone = [
            self.stacks.delete(name)
            for name in (self.names.observability_stack, self.names.api_stack)
        ]
        # Only now: CloudFormation takes a stack back to the code that it had.
        gone.append(remove(self.account, self.names.code_bucket(self.account)))
        if options.data:
            gone.append(self._destroy_data())
        if not any(gone):
            raise DeployError(
                f"there is no {self.names.api_stack} in account {self.account.id}, region"
                f" {self.account.region}: is it another stage or region? (`--stage`, AWS_REGION)"
            )
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

    def _destroy_data(self) -> bool:
        if self.stacks.find(self.names.data_stack) is None:
            return False
        cloudformation = self.stacks.client
        listed = cloudformation.describe_stack_resources(StackName=self.names.data_stack)
        ids = [
            (each["ResourceType"], each["PhysicalResourceId"])
            for each in listed["StackResources"]
            if each.get("PhysicalResourceId")
        ]
        for kind, name in ids:
            if kind == _BUCKET:
                self.echo(f"{name}: deleting all objects, and the bucket")
                remove(self.account, name)
            elif kind == _TABLE:
                self.echo(f"{name}: deleting the table")
                self._drop_table(name)
        ssm: Any = self.account.client("ssm")
        # Unlike DeleteParameter this one says nothing of a name that isn't there.
        ssm.delete_parameters(Names=[self.names.signing_key])
        return self.stacks.delete(self.names.data_stack)

    def _drop_table(self, table: str) -> None:
        dynamodb: Any = self.account.client("dynamodb")
        try:
            if dynamodb.describe_table(TableName=table)["Table"].get("DeletionProtectionEnabled"):
                dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                dynamodb.get_waiter("table_exists").wait(TableName=table)
            dynamodb.delete_table(TableName=table)
            dynamodb.get_waiter("table_not_exists").wait(TableName=table)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in _GONE:
                raise

    def _told(self, options: DestroyOptions) -> str:
        if options.data:
            return f"{self.names.api_stack} is gone, and all its data\n"
        return (
            f"{self.names.api_stack} is gone. Its data is kept in {self.names.data_stack}: `make"
            f" deploy STAGE={self.names.stage}` puts a registry before it again, `make destroy"
            f" STAGE={self.names.stage} DATA=delete` deletes it\n"
        )


def destroy(options: DestroyOptions, environment: Mapping[str, str]) -> str:
    """Take down what is in the account that the user's AWS settings name; see Demolition.run."""
    quiet_sdk()
    names = Names.of(options.stage)
    account = Account.of(environment)
    say(f"destroying {names.api_stack} in account {account.id}, region {account.region}")
    stacks = Stacks(account.client("cloudformation"), say)
    return Demolition(names, account, stacks, say, _ask).run(options)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()
