"""A proof of an AWS identity, for a registry that trusts AWS: no secret is sent or stored.

The proof is the URL of a presigned GetCallerIdentity. STS answers it with the identity of its
signer and with nothing else, and only for the registry whose name was signed with it. It is good
for some minutes, so it must never be printed or logged.
"""

from typing import Final

import boto3
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.access.federation.aws_identity import REGISTRY_HEADER, VERSION, host_of
from moorage.login.http import LoginError

LIFE: Final = 300
"""Seconds for which a proof is good: enough for a clock that is some minutes behind."""

_DEFAULT_REGION = "us-east-1"


def presigned_identity(service: str, region: str | None = None) -> str:
    """Return a proof of this machine's AWS identity for the registry `service` (host[:port]).

    Credentials are found as every AWS program finds them. `region` is STS's (default: the profile's
    region, else us-east-1). Raises LoginError.
    """
    try:
        session = boto3.session.Session()
        found = session.get_credentials()
        credentials = None if found is None else found.get_frozen_credentials()
    except (BotoCoreError, ClientError) as error:
        why = " ".join(str(error).split())
        raise LoginError(
            f"your AWS credentials can't be used: {why}; `aws sts get-caller-identity` should work"
            " before this does"
        ) from error
    if credentials is None:
        raise LoginError(
            "no AWS credentials were found: set AWS_PROFILE, run `aws configure` or `aws sso"
            " login`, or run this where a role is given to the machine"
        )
    return _presigned(service, region or session.region_name or _DEFAULT_REGION, credentials)


def _presigned(service: str, region: str, credentials: ReadOnlyCredentials) -> str:
    request = AWSRequest(
        method="GET",
        url=f"https://{host_of(region)}/?Action=GetCallerIdentity&Version={VERSION}",
        headers={REGISTRY_HEADER: service},
    )
    SigV4QueryAuth(credentials, "sts", region, expires=LIFE).add_auth(request)
    return str(request.url)
