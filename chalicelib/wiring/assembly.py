"""Puts the registry together over two clients: for the functions, and for the owner's commands.

This module must never read the environment, nor decide anything that a setting does not say.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

from chalicelib.registry import service
from chalicelib.registry.registry import Registry
from chalicelib.stores.dynamodb.metadata import DynamoMetadataStore
from chalicelib.stores.dynamodb.sessions import DynamoSessionStore
from chalicelib.stores.s3 import objects

if TYPE_CHECKING:
    from chalicelib.registry.ports import Clock, TicketKeys, Workers
    from chalicelib.registry.service import Limits
    from chalicelib.settings import Settings

_DAY = 24 * 3600.0


def limits_of(config: "Settings") -> "Limits":
    """Return the limits that the settings say.

    Where the collector's grace is shorter than a day, as only a local registry's may be, so is what
    else a blob's bytes wait for: for late requests, which there are none of behind one gateway.
    """
    limits = service.Limits(
        sparse_index=config.sparse_index,
        sparse_image=config.sparse_image,
        anonymous_mount=config.anonymous_mount,
        trash=config.trash_days * _DAY,
        link_grace=config.grace,
        collect_every=min(config.collect_every, config.grace),
    )
    if config.grace < _DAY:
        limits = limits._replace(
            ticket_life=min(limits.ticket_life, config.grace),
            direct_put=min(limits.direct_put, config.grace),
            sweep_again=min(limits.sweep_again, config.grace),
            retention_every=config.grace,
            record_grace=0.0,
        )
    return limits._replace(record_grace=max(limits.record_grace, config.grace, limits.stray_age))


class Clients(NamedTuple):
    """The clients of S3 and DynamoDB, which are made at run time."""

    s3: Any
    dynamodb: Any


def assembled(  # noqa: PLR0913 - what a registry is made of
    config: "Settings",
    limits: "Limits",
    clients: Clients,
    clock: "Clock",
    workers: "Workers",
    ticket_keys: "TicketKeys",
) -> Registry:
    """Return the registry whose bucket and tables the settings name."""
    dynamodb = clients.dynamodb
    ports = service.Ports(
        objects=objects.S3ObjectStore(clients.s3, config.bucket),
        sessions=DynamoSessionStore(dynamodb, config.uploads_table),
        metadata=DynamoMetadataStore(dynamodb, config.registry_table, config.uploads_table),
        workers=workers,
        clock=clock,
        ticket_keys=ticket_keys,
    )
    return Registry(ports, limits)
