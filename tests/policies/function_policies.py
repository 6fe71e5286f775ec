"""The policies of the functions as they are deployed, with the names of one backend put in.

A function may do what is in its file of .chalice/, and nothing else says so. This module must
never hold a permission.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

from moorage.common.project import PROJECT
from tests.infra.intrinsics import Stack
from tests.policies.iam_actions import HERE, ResourceNames
from tests.policies.policy import Policy

if TYPE_CHECKING:
    from tests.emulators.backends import Backend

_STACK, _DATA_STACK = "moorage", "moorage-data"
SIGNING_KEY, COMMIT_FUNCTION = "/moorage/signing-key", "moorage-commit"


class Function(enum.StrEnum):
    """The functions; each has a role, and so a policy, of its own."""

    API = "api"
    AUTHORIZER = "authorizer"
    COMMIT = "commit"
    SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class DeployedNames:
    """What a deployment's things are called."""

    bucket: str
    registry_table: str
    uploads_table: str
    access_table: str
    signing_key: str = SIGNING_KEY
    commit_function: str = COMMIT_FUNCTION

    @classmethod
    def of(cls, backend: Backend, signing_key: str = SIGNING_KEY) -> Self:
        """Return the names of a backend's bucket and tables."""
        tables = (backend.registry_table, backend.uploads_table, backend.access_table)
        return cls(backend.bucket, *tables, signing_key)

    def stack(self, place: ResourceNames = HERE) -> Stack:
        """Return the stack of the functions, beside one of the data with these names."""
        tables = {
            "RegistryTable": self.registry_table,
            "UploadsTable": self.uploads_table,
            "AccessTable": self.access_table,
        }
        arns = {name: place.table(table) for name, table in tables.items()}
        return Stack(
            values={
                "AWS::Partition": place.partition,
                "AWS::Region": place.region,
                "AWS::AccountId": place.account,
                "AWS::StackName": _STACK,
                "DataStack": _DATA_STACK,
                "SigningKeyParameter": self.signing_key,
                "Commit.Arn": place.function(self.commit_function),
                **{f"{each.title()}Logs.Arn": place.log(_log_of(each)) for each in Function},
            },
            exports={
                f"{_DATA_STACK}-{name}Arn": arn
                for name, arn in {**arns, "Bucket": place.bucket(self.bucket)}.items()
            },
        )


def _log_of(function: Function) -> str:
    """Return the name of a function's log group, which infra/api.merge.yaml declares."""
    return f"/aws/lambda/{_STACK}-{function}"


def document(function: Function) -> dict[str, Any]:
    """Return a function's policy as it is written."""
    path = PROJECT / ".chalice" / f"policy-{function}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@lru_cache(maxsize=64)
def policy(function: Function, names: DeployedNames) -> Policy:
    """Return a function's policy over things of these names; raises TemplateError."""
    resolved = names.stack().resolved(document(function))
    assert isinstance(resolved, dict)
    return Policy.parse(resolved)
