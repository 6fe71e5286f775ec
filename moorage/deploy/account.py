"""The account and region that a deployment goes to, and what it makes there is called.

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
# The bucket's name, at most 63 characters long, is the longest that is made of a stage's.


@dataclass(frozen=True, slots=True)
class Names:
    """What a stage's stacks, key and buckets are called. `stage`: a lower-case word."""

    stage: str

    @classmethod
    def of(cls, stage: str) -> Self:
        """Take a stage's name; raises DeployError for one that can't stand in all the others."""
        if not _STAGE.fullmatch(stage):
            raise DeployError(
                f"a stage can't be called {stage!r}: take 1 to 20 lower-case letters and digits,"
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
    def signing_key(self) -> str:
        """The parameter that holds the keys of tokens."""
        return f"/moorage/{self.stage}/signing-key"

    @property
    def tags(self) -> Mapping[str, str]:
        """What everything is tagged with."""
        return {"moorage-stage": self.stage}

    def code_bucket(self, account: "Account") -> str:
        """Return the name of the bucket of packages, if nobody names one."""
        return f"{self.api_stack}-code-{account.id}-{account.region}"


@dataclass(frozen=True, slots=True)
class Account:
    """An AWS account and a region of it, with the credentials of whoever runs the command."""

    session: "Session"
    id: str
    region: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Ask AWS who this is; raises DeployError, BotoCoreError, ClientError.

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
