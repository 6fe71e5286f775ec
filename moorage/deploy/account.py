"""The account and region of a deployment, and the names of what it makes there.

This module must never choose a region: a registry in the wrong place is paid for and not found.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import boto3
from botocore.config import Config

from moorage.deploy import DeployError

if TYPE_CHECKING:
    from boto3.session import Session

_STAGE = re.compile(r"[a-z][a-z0-9]{0,19}")
# The longest name made of it is the bucket's, which may have 63 characters.


@dataclass(frozen=True, slots=True)
class StageNames:
    """The names of a stage's stacks, key and buckets. `stage`: a lower-case word."""

    stage: str

    @classmethod
    def of(cls, stage: str) -> Self:
        """Check a stage's name; raises DeployError for one that does not fit into every name."""
        if not _STAGE.fullmatch(stage):
            raise DeployError(
                f"a stage can't be called {stage!r}: use 1 to 20 lower-case letters and digits,"
                " a letter first"
            )
        return cls(stage)

    @property
    def api_stack(self) -> str:
        """The stack of the functions and the API."""
        return f"moorage-{self.stage}"

    @property
    def data_stack(self) -> str:
        """The stack of the bucket and the tables."""
        return f"{self.api_stack}-data"

    @property
    def observability_stack(self) -> str:
        """The stack of alarms and dashboards."""
        return f"{self.api_stack}-observability"

    @property
    def edge_stack(self) -> str:
        """The stack of the edge."""
        return f"{self.api_stack}-edge"

    @property
    def signing_key(self) -> str:
        """The parameter that holds the keys that sign tokens."""
        return f"/moorage/{self.stage}/signing-key"

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of all stacks and their resources."""
        return {"moorage-stage": self.stage}

    def code_bucket(self, account: "Account") -> str:
        """Return the name of the stage's own bucket of packages."""
        return f"{self.api_stack}-code-{account.id}-{account.region}"


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account and a region, with the credentials of the person who runs the command."""

    session: "Session"
    id: str
    region: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Ask AWS for the account; raises DeployError, BotoCoreError, ClientError.

        `environment` may name the region: boto3 itself doesn't read AWS_REGION.
        """
        session = boto3.session.Session(region_name=environment.get("AWS_REGION") or None)
        region = session.region_name
        if not region:
            raise DeployError("no AWS region: set AWS_REGION, or a profile that has one")
        caller = _client(session, "sts").get_caller_identity()
        return cls(session, str(caller["Account"]), region)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client of a service in the region."""
        return _client(self.session, service)


def _client(session: "Session", service: str) -> Any:  # noqa: ANN401 - likewise
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"total_max_attempts": 5, "mode": "standard"},
        signature_version="s3v4" if service == "s3" else None,
    )
    made: Any = session.client(service, config=config)  # type: ignore[call-overload]
    return made
