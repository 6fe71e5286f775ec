"""AWS, emulated: MiniStack at AWS's own host names, with IAM, for one deployment's names.

Nobody is told of an endpoint: whoever calls AWS finds it by the names that AWS's SDKs make. Each
request is signed, and the rights of its signer are evaluated.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config

from moorage.common.project import PROJECT
from moorage.deploy.account import StageNames
from moorage.local import children
from tests.e2e.patched_ministack import API_IDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.namespace import Certificates

ACCOUNT: Final = "123456789012"
REGION: Final = "eu-central-1"
DOMAIN: Final = f"{REGION}.amazonaws.com"
NAMES: Final = StageNames("e2e")
DATA_BUCKET: Final = f"{NAMES.data_stack}-{ACCOUNT}-{REGION}"
CODE_BUCKET: Final = f"{NAMES.api_stack}-code-{ACCOUNT}-{REGION}"
HOSTS: Final = (
    "iam.amazonaws.com",
    "cloudfront.amazonaws.com",
    f"{ACCOUNT}.cloudfront-kvs.global.api.aws",
    *(
        f"{service}.{DOMAIN}"
        for service in (
            *("apigateway", "cloudformation", "dynamodb", "events", "lambda", "logs"),
            *("monitoring", "s3", "sns", "ssm", "sts"),
            *(f"{bucket}.s3" for bucket in (CODE_BUCKET, DATA_BUCKET)),
            *(f"{api}.execute-api" for api in API_IDS),
        )
    ),
)
"""Every name that is called; certificates and /etc/hosts have no wildcard for them all."""

DEPLOYER_POLICY: Final = PROJECT / "infra" / "deployer-policy.json"

_ROOT: Final = ("AKIAMOORAGEE2EROOT00", "the-roots-secret")
_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Cloud:
    """A running emulation. `authority`: the certificate that its hosts are proven by."""

    authority: Path
    child: children.Child

    def client(self, service: str) -> Any:  # noqa: ANN401 - boto3's clients are made at run time
        """Return a client with all rights, for what a test looks at and arranges."""
        session = boto3.session.Session(*_ROOT, region_name=REGION)
        config = Config(proxies={}, retries={"total_max_attempts": 1})
        return session.client(
            service,  # type: ignore[call-overload]
            config=config,
            verify=str(self.authority),
        )

    def user(self, name: str, policy: Path | None = None) -> dict[str, str]:
        """Create a user with this policy; return the variables by which its programs call AWS."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if policy is not None:
            document = policy.read_text(encoding="utf-8")
            made = iam.create_policy(PolicyName=f"moorage-{name}", PolicyDocument=document)
            iam.attach_user_policy(UserName=name, PolicyArn=made["Policy"]["Arn"])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
            "AWS_REGION": REGION,
        }


def plain_environment(folder: Path, authority: Path) -> dict[str, str]:
    """Return an environment with nothing in it but what every program needs, and this authority."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "AWS_CA_BUNDLE": str(authority),  # AWS's SDKs
        "SSL_CERT_FILE": str(authority),  # Go, and Python's ssl
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def running(folder: Path, certificates: Certificates, log: Path) -> Iterator[Cloud]:
    """Run it until the block ends, with its files in `folder`; its output goes to `log`."""
    environment = plain_environment(folder, certificates.authority) | _settings(
        folder, certificates
    )
    with log.open("a", encoding="utf-8") as lines:

        def note(line: str) -> None:
            lines.write(f"{line}\n")
            lines.flush()

        child = children.start(
            "ministack",
            (sys.executable, "-m", "tests.e2e.patched_ministack"),
            environment,
            echo=note,
        )
        try:
            wait_for(child, 443)
            yield Cloud(certificates.authority, child)
        finally:
            child.stop()


def wait_for(child: children.Child, port: int) -> None:
    """Wait until a child listens on a port of loopback; raises LocalError."""
    deadline = time.monotonic() + _SECONDS
    while True:
        child.require_alive()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise child.give_up(f"listen on {port} within {_SECONDS:.0f} s") from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def _settings(folder: Path, certificates: Certificates) -> dict[str, str]:
    return {
        "AUTH": "true",  # signatures are verified, and policies evaluated
        "AWS_ACCESS_KEY_ID": _ROOT[0],
        "AWS_SECRET_ACCESS_KEY": _ROOT[1],
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": "4566",  # with TLS it listens on 443 besides
        "USE_SSL": "1",
        "MINISTACK_SSL_CERT": str(certificates.certificate),
        "MINISTACK_SSL_KEY": str(certificates.key),
        "MINISTACK_HOST": DOMAIN,
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "LOG_LEVEL": "WARNING",
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{folder}/no-docker.sock",
        "S3_DATA_DIR": f"{folder}/s3",
        "STATE_DIR": f"{folder}/state",
        "S3_PERSIST": "0",
        "PERSIST_STATE": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
