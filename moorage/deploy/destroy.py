"""`moorage destroy`: takes a registry down. Its data stays, unless its deletion is confirmed.

This module must never delete data without a confirmation, nor delete a stack whose bucket or tables
still exist: a second run finds them by that stack. Without a stack it may delete only what has the
usual names, and must never report that all data is gone: data with other names can't be found then.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.common.aws import explained, found
from moorage.common.project import DATA_TEMPLATE, load_template
from moorage.deploy import DeployError
from moorage.deploy import data as deploy_data
from moorage.deploy.account import Account, StageNames
from moorage.deploy.bucket import exists, remove
from moorage.deploy.data import BUCKET, TABLE
from moorage.deploy.run import RIGHTS, say
from moorage.deploy.stacks import Stack, Stacks


@dataclass(frozen=True, slots=True)
class DestroyOptions:
    """What to delete. `confirmed`: the data stack's name, if it was given beforehand."""

    stage: str
    data: bool = False
    confirmed: str | None = None


@dataclass(frozen=True)
class Teardown:
    """One run of the command, in an account. `ask` asks the user a question."""

    names: StageNames
    account: Account
    stacks: Stacks
    echo: Callable[[str], None]
    ask: Callable[[str], str]

    def run(self, options: DestroyOptions) -> str:
        """Delete, and return what to print; raises DeployError, and what AWS raises."""
        if options.data:
            self._require_confirmation(options.confirmed)
        data = self.stacks.find(self.names.data_stack)
        gone = [
            self.stacks.delete(name)
            for name in (
                self.names.observability_stack,
                self.names.edge_stack,
                self.names.api_stack,
            )
        ]
        # Only now: a rollback of the API's stack would need its code.
        gone.append(remove(self.account, self.names.code_bucket(self.account)))
        deleted = self._destroy_data(data) if options.data else []
        if not any(gone) and not deleted:
            raise self._nothing(options)
        if data is None or not data.was_created:
            return self._summary_without_stack(options, deleted)
        return self._summary(options)

    def _require_confirmation(self, confirmed: str | None) -> None:
        wanted = self.names.data_stack
        if confirmed is None:
            confirmed = self.ask(
                f"Every image, API token and grant of {self.names.stage}, in account"
                f" {self.account.id}, region {self.account.region}, will be deleted for good.\n"
                f"Type {wanted} to delete them: "
            )
        if confirmed.strip() != wanted:
            raise DeployError(f"nothing was deleted: the answer was not {wanted}")

    def _destroy_data(self, stack: Stack | None) -> list[str]:
        """Delete the bucket, the tables, the key and then the stack; return what existed."""
        known = self._in_stack() if stack is not None and stack.was_created else self._by_name()
        deleted = [name for kind, name in known if self._delete(kind, name)]
        ssm: Any = self.account.client("ssm")
        # Unlike DeleteParameter, this is no error for a name that does not exist.
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
        """Return the types and usual names of a deployment's data.

        A failed creation's list of resources is not used: it may name a bucket or table of
        somebody else, which was in the way.
        """
        template = load_template(DATA_TEMPLATE)
        usual = deploy_data.resources(template, self.names.data_stack, self.account, {})
        return [(each.kind, each.name) for each in usual]

    def _delete(self, kind: str, name: str) -> bool:
        if kind == BUCKET and exists(self.account, name):
            self.echo(f"{name}: deleting all objects, and the bucket")
            return remove(self.account, name)
        return kind == TABLE and self._drop_table(name)

    def _drop_table(self, table: str) -> bool:
        dynamodb: Any = self.account.client("dynamodb")

        def drop() -> None:
            present = dynamodb.describe_table(TableName=table)["Table"]
            self.echo(f"{table}: deleting the table")
            if present.get("DeletionProtectionEnabled"):
                dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)
                dynamodb.get_waiter("table_exists").wait(TableName=table)
            dynamodb.delete_table(TableName=table)
            dynamodb.get_waiter("table_not_exists").wait(TableName=table)

        return found(drop)

    def _nothing(self, options: DestroyOptions) -> DeployError:
        data = ", nor data with the usual names" if options.data else ""
        return DeployError(
            f"there is no {self.names.api_stack} in account {self.account.id}, region"
            f" {self.account.region}{data}: is it another stage or region? (`--stage`, AWS_REGION)"
        )

    def _summary_without_stack(self, options: DestroyOptions, deleted: list[str]) -> str:
        """Return what to print where no stack lists the data."""
        api, stack, stage = self.names.api_stack, self.names.data_stack, self.names.stage
        if not options.data:
            return (
                f"{api} is deleted. There is no stack {stack}: a bucket and tables that one left"
                f" behind are kept. `moorage deploy --stage {stage}` uses them again, `moorage"
                f" destroy --stage {stage} --data delete` deletes them\n"
            )
        done = f"deleted {', '.join(deleted)}" if deleted else "found none"
        return (
            f"{api} is deleted. There was no stack {stack} to list its data, so the usual names"
            f" were tried: {done}. A bucket or table with another name would still exist\n"
        )

    def _summary(self, options: DestroyOptions) -> str:
        if options.data:
            return f"{self.names.api_stack} and all its data are deleted\n"
        stage = self.names.stage
        return (
            f"{self.names.api_stack} is deleted. Its data is kept in {self.names.data_stack}:"
            f" `moorage deploy --stage {stage}` uses it again, `moorage destroy --stage {stage}"
            f" --data delete` deletes it\n"
        )


def destroy(options: DestroyOptions, environment: Mapping[str, str]) -> str:
    """Take a registry down in the account of the user's AWS settings, and return what to print.

    Raises DeployError.
    """
    names = StageNames.of(options.stage)
    with explained(kind=DeployError, rights=RIGHTS):
        account = Account.of(environment)
        say(f"destroying {names.api_stack} in account {account.id}, region {account.region}")
        stacks = Stacks(account.client("cloudformation"), say)
        return Teardown(names, account, stacks, say, _ask).run(options)


def _ask(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline()
