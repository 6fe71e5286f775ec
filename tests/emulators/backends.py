"""S3 and DynamoDB for tests: moto (strict or as it is) and MiniStack, started for a session.

Each is a child process here; tests.emulators.moto_here has moto in this one. An emulator is worth
sharing for a session; names are not: take `backend.fresh()` for each use. It must never listen on
anything but loopback.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from moorage.common.data import REGION, DataNames
from moorage.local import backend as local_backend
from moorage.local import children, ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

STRICT_MOTO = (sys.executable, "-m", "tests.emulators.strict_moto")
_MINISTACK = (sys.executable, "-m", "tests.emulators.ministack_server")
_ANY_ANSWER = frozenset(range(200, 600))
_READY = frozenset({200})


@dataclass(frozen=True)
class Backend:
    """An S3 and DynamoDB with a bucket and the three tables in it."""

    name: str
    endpoint_url: str
    bucket: str
    registry_table: str
    uploads_table: str
    access_table: str
    pid: int
    environment: dict[str, str] = field(repr=False)
    """What to add to an open registry's environment: MOORAGE_*, AWS_* and NO_PROXY."""

    def fresh(self) -> Backend:
        """Make another bucket and other tables in the same process, under names never used."""
        return _with_data(self)

    def s3(self, **config: Any) -> S3Client:  # noqa: ANN401 - botocore's own options
        """Return a client that fails at once instead of retrying; `config` changes that."""
        return _s3(self.endpoint_url, config)

    def dynamodb(self, **config: Any) -> DynamoDBClient:  # noqa: ANN401 - likewise
        """Return a client that fails at once instead of retrying; `config` changes that."""
        return _dynamodb(self.endpoint_url, config)

    def shared_clients(self) -> tuple[S3Client, DynamoDBClient]:
        """Return the clients that all tests over this process share, with their connections."""
        return _clients(self.endpoint_url)

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client of another service: SSM, STS."""
        return _session().client(
            service,  # type: ignore[call-overload]
            endpoint_url=self.endpoint_url,
            config=_config({}),
        )


@functools.cache
def _session() -> boto3.session.Session:
    return boto3.session.Session(
        aws_access_key_id="local",
        aws_secret_access_key="local",  # noqa: S106 - emulators know no secrets
        region_name=REGION,
    )


@functools.lru_cache(maxsize=8)
def _clients(endpoint_url: str) -> tuple[S3Client, DynamoDBClient]:
    return _s3(endpoint_url, {}), _dynamodb(endpoint_url, {})


def _s3(endpoint_url: str, changes: dict[str, Any]) -> S3Client:
    config = _config({"signature_version": "s3v4"} | changes)
    return _session().client("s3", endpoint_url=endpoint_url, config=config)


def _dynamodb(endpoint_url: str, changes: dict[str, Any]) -> DynamoDBClient:
    return _session().client("dynamodb", endpoint_url=endpoint_url, config=_config(changes))


def _config(changes: dict[str, Any]) -> Config:
    plain: dict[str, Any] = {
        "retries": {"total_max_attempts": 1},
        "s3": {"addressing_style": "path"},
        "proxies": {},
        "max_pool_connections": 32,
        "user_agent": "tests",  # botocore puts its own together for each request anew
    }
    return Config(**(plain | changes))


@contextmanager
def moto_backend(*, strict: bool = True, copy_limit: int | None = None) -> Iterator[Backend]:
    """Run moto until the block ends; `copy_limit` (bytes, strict only) moves S3's 5 GiB."""
    command: tuple[str, ...] = STRICT_MOTO if strict else local_backend.MOTO_COMMAND
    if copy_limit is not None:
        command = (*command, "--copy-limit", str(copy_limit))
    moto, url = local_backend.start_moto(_plain_environment(), command=command)
    try:
        children.wait_until_answers(moto, url, statuses=_ANY_ANSWER)
        yield backend_at("strict-moto" if strict else "moto", url, moto.pid)
    finally:
        moto.stop()


@contextmanager
def ministack_backend(*more: str) -> Iterator[Backend]:
    """Run MiniStack until the block ends: S3, DynamoDB and `more`, and nothing left on disk."""
    port = ports.free_port()
    url = f"http://{ports.LOOPBACK}:{port}"
    with tempfile.TemporaryDirectory(prefix="moorage-ministack-") as folder:
        environment = _plain_environment() | ministack_variables(port, folder, more)
        child = children.start("ministack", _MINISTACK, environment)
        try:
            children.wait_until_answers(child, f"{url}/_ministack/ready", statuses=_READY)
            yield backend_at("ministack", url, child.pid)
        finally:
            child.stop()


def ministack_variables(port: int, folder: str, more: Sequence[str] = ()) -> dict[str, str]:
    """Return what MiniStack is told by its environment."""
    return {
        "BIND_HOST": ports.LOOPBACK,
        "GATEWAY_PORT": str(port),
        "SERVICES": ",".join(("s3", "dynamodb", *more)),
        "LOG_LEVEL": "WARNING",
        # The listeners that it opens of its own accord, on all addresses.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        # It removes containers that it takes for its own: there is to be no docker to find.
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        # A pid file, certificates and scratch space go to the temporary directory.
        "TMPDIR": folder,
        "S3_DATA_DIR": f"{folder}/s3",
        "STATE_DIR": f"{folder}/state",
        "S3_PERSIST": "0",
        "PERSIST_STATE": "0",
    }


def _plain_environment() -> dict[str, str]:
    """Return this process's environment less what would change how an emulator behaves."""
    prefixes = ("AWS_", "MOTO_", "MINISTACK_", "LOCALSTACK_", "S3_", "MOORAGE_")
    return {key: value for key, value in os.environ.items() if not key.startswith(prefixes)}


def backend_at(name: str, url: str, pid: int) -> Backend:
    """Return an open registry's backend on an emulator that listens at a URL."""
    environment = local_backend.aws_environment({}, url, emulated=True)
    environment["MOORAGE_AUTH"] = "off"
    return _with_data(Backend(name, url, "", "", "", "", pid, environment))


def _with_data(backend: Backend) -> Backend:
    tag = uuid.uuid4().hex[:12]
    names = DataNames(
        bucket=f"test-{tag}",
        registry_table=f"test-{tag}-registry",
        uploads_table=f"test-{tag}-uploads",
        access_table=f"test-{tag}-access",
    )
    local_backend.create_data(backend.endpoint_url, names, backend.environment)
    return replace(
        backend,
        bucket=names.bucket,
        registry_table=names.registry_table,
        uploads_table=names.uploads_table,
        access_table=names.access_table,
        environment=backend.environment | names.variables(),
    )
