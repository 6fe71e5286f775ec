"""Builds a registry in this process, over its own data, for the commands of its owner.

It runs with the owner's AWS credentials, and does no work for clients. Servers must never use it.
"""

from typing import NoReturn

from chalicelib.clock import SystemClock
from chalicelib.registry.registry import Registry
from chalicelib.registry.tickets import FixedKeys
from chalicelib.settings import LEAST_GRACE, Settings
from chalicelib.wiring.assembly import Clients, assembled, limits_of
from moorage.common.aws import Aws
from moorage.common.data import DataNames

__all__ = ["LEAST_GRACE", "registry_of"]


def registry_of(aws: Aws, names: DataNames, grace: float = LEAST_GRACE) -> Registry:
    """Return the registry whose data has these names; `grace` is as in Settings."""
    config = Settings(
        bucket=names.bucket,
        registry_table=names.registry_table,
        uploads_table=names.uploads_table,
        grace=grace,
    )
    return assembled(
        config,
        limits_of(config),
        Clients(aws.client("s3"), aws.client("dynamodb")),
        SystemClock(),
        _NoWorkers(),
        FixedKeys.of("no ticket is made or read here"),
    )


class _NoWorkers:
    """An owner's command drives no upload."""

    def commit(self, session_id: str) -> NoReturn:
        """See Workers.commit."""
        raise NotImplementedError(session_id)

    def verify(self, stretch: object) -> NoReturn:
        """See Workers.verify."""
        raise NotImplementedError(stretch)
