"""The S3 and DynamoDB behind a local registry: moto in a child process, the bucket, the tables.

Names, keys and indexes come from infra/data.yaml, the template that is deployed: no table may be
described here again. This module must never create anything on AWS, where the template does it.
"""

import functools
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from moorage.common.data import REGION, DataNames
from moorage.common.project import DATA_TEMPLATE, load_template
from moorage.local import LocalError, children

MOTO_COMMAND = (sys.executable, "-m", "moorage.local.moto_server")

_LOOPBACK = "127.0.0.1,localhost,::1"
# The properties of AWS::DynamoDB::Table for CreateTable. Recovery and deletion protection are left
# out: nobody keeps the data of a local table.
_TABLE_PROPERTIES = (
    "AttributeDefinitions",
    "BillingMode",
    "GlobalSecondaryIndexes",
    "KeySchema",
    "LocalSecondaryIndexes",
)
# These would win over AWS_ENDPOINT_URL.
_STRAY_ENDPOINTS = (
    "AWS_ENDPOINT_URL_DYNAMODB",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
)


def aws_environment(
    base: Mapping[str, str], endpoint_url: str, *, emulated: bool
) -> dict[str, str]:
    """Return `base`, changed so that an AWS SDK calls `endpoint_url` directly.

    `emulated` says that `moorage local` started the endpoint, an emulator: none of the user's AWS
    settings, and no credentials, go there. For another endpoint they stay, and credentials are
    made up only where there are none.
    """
    environment = {key: value for key, value in base.items() if key not in _STRAY_ENDPOINTS}
    if emulated:
        environment = {k: v for k, v in environment.items() if not k.startswith("AWS_")}
        environment |= {
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
    if not environment.get("AWS_ACCESS_KEY_ID") and not environment.get("AWS_PROFILE"):
        environment |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or REGION
    no_proxy = environment.get("NO_PROXY") or environment.get("no_proxy")
    bypass = f"{no_proxy},{_LOOPBACK}" if no_proxy else _LOOPBACK
    return environment | {
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint_url,
        "NO_PROXY": bypass,
        "no_proxy": bypass,
    }


def start_moto(
    environment: Mapping[str, str],
    *,
    port: int = 0,
    command: Sequence[str] = MOTO_COMMAND,
    echo: Callable[[str], None] | None = None,
) -> tuple[children.Child, str]:
    """Start moto on loopback; return the child and its URL. Raises OSError for a taken port.

    The child inherits a listening socket, so that no other process can take the port in between.
    It may not answer yet: see children.wait_until_answers.
    """
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        child = children.start(
            "moto",
            [*command, "--fd", str(listener.fileno())],
            environment,
            echo=echo,
            pass_fds=[listener.fileno()],
        )
    return child, url


def create_data(
    endpoint_url: str, names: DataNames, environment: Mapping[str, str], *, cors: bool = False
) -> None:
    """Create the bucket and the tables of infra/data.yaml that are missing; wait for them.

    `environment` gives credentials and region. With `cors` pages of other sites may read from the
    bucket: an emulator that checks no signature would let any of them. Raises LocalError.
    """
    resources = _resources()
    try:
        s3 = client("s3", endpoint_url, environment)
        _create_bucket(s3, names.bucket)
        if cors:
            _let_pages_read(s3, names.bucket, resources["Bucket"]["Properties"])
        dynamodb = client("dynamodb", endpoint_url, environment)
        for table, resource in (
            (names.registry_table, "RegistryTable"),
            (names.uploads_table, "UploadsTable"),
            (names.access_table, "AccessTable"),
        ):
            _create_table(dynamodb, table, resources[resource]["Properties"])
    except (BotoCoreError, ClientError) as error:
        raise LocalError(
            f"could not create the bucket and tables at {endpoint_url}: {error}"
        ) from error


@functools.cache
def _resources() -> Mapping[str, Any]:
    resources: Mapping[str, Any] = load_template(DATA_TEMPLATE)["Resources"]
    return resources


def client(service: str, endpoint_url: str, environment: Mapping[str, str]) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
    """Return a client with an environment's credentials and region; it is cached."""
    variables = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    given = environment.get("AWS_ACCESS_KEY_ID")
    credentials = tuple(environment.get(name) if given else None for name in variables)
    return _cached_client(service, endpoint_url, environment.get("AWS_REGION", REGION), credentials)


@functools.lru_cache(maxsize=16)
def _cached_client(
    service: str, endpoint_url: str, region: str, credentials: tuple[str | None, ...]
) -> Any:  # noqa: ANN401 - likewise
    # A client takes longer to create than the tables, which tests create often.
    key, secret, token = credentials
    session = boto3.session.Session(
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        region_name=region,
    )
    config = Config(
        connect_timeout=5,
        read_timeout=30,
        retries={"total_max_attempts": 3, "mode": "standard"},
        s3={"addressing_style": "path"},
        # A local registry's backend is behind no proxy.
        proxies={},
    )
    made: Any = session.client(service, endpoint_url=endpoint_url, config=config)  # type: ignore[call-overload]
    return made


def _create_bucket(s3: Any, bucket: str) -> None:  # noqa: ANN401 - likewise
    # Lifecycle, encryption and policy have no effect on an emulator.
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:  # noqa: PLR2004 - HEAD has no error code but the status
            raise
    else:
        return
    # us-east-1 is the one region that must not be named here.
    region = s3.meta.region_name
    place = {} if region == REGION else {"LocationConstraint": region}
    s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": place} if place else {}))


def _let_pages_read(s3: Any, bucket: str, properties: Mapping[str, Any]) -> None:  # noqa: ANN401 - likewise
    # S3 calls two members otherwise than CloudFormation.
    names = {"Id": "ID", "ExposedHeaders": "ExposeHeaders", "MaxAge": "MaxAgeSeconds"}
    rules = [
        {names.get(name, name): value for name, value in rule.items()}
        for rule in properties["CorsConfiguration"]["CorsRules"]
    ]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})


def _create_table(dynamodb: Any, table: str, properties: Mapping[str, Any]) -> None:  # noqa: ANN401 - likewise
    wanted = {name: properties[name] for name in _TABLE_PROPERTIES if name in properties}
    try:
        made = dynamodb.create_table(TableName=table, **wanted)["TableDescription"]
    except dynamodb.exceptions.ResourceInUseException:
        made = None  # it exists, or another process is creating it
    # An emulator's table is active at once.
    if made is None or made["TableStatus"] != "ACTIVE":
        waiter = dynamodb.get_waiter("table_exists")
        waiter.wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    lifetime = properties.get("TimeToLiveSpecification")
    if lifetime is None:
        return
    # It is an error to turn on what is on.
    if made is None:
        now = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if now.get("TimeToLiveStatus", "DISABLED") != "DISABLED":
            return
    dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=lifetime)
