"""The networks that DIRECT_FROM names: checked, and those of the region looked up.

AWS publishes its addresses: https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html. A
region has some hundred networks, more than a function's environment or a parameter of a template
holds: so they go into the package. This module must never accept a network that the functions can't
read: they would fail at every request.
"""

import ipaddress
import json
from collections.abc import Mapping
from typing import Any, Final

from chalicelib.settings import REGION
from chalicelib.stores.web.fetches import FetchError, fetch
from moorage.deploy import DeployError

URL: Final = "https://ip-ranges.amazonaws.com/ip-ranges.json"
LARGEST: Final = 32 * 1000 * 1000
"""Bytes of that file: it had less than 3 MB in 2026."""
MOST: Final = 5_000
"""Networks of a region, after those that lie beside each other were joined."""
LONGEST: Final = 1_500
"""Characters of DIRECT_FROM: a function's whole environment has 4 KB."""


def names_region(direct_from: str) -> bool:
    """Whether DIRECT_FROM names the region's networks; raises DeployError if it can't be read."""
    words = direct_from.replace(",", " ").split()
    if len(direct_from) > LONGEST:
        raise DeployError(
            f"DIRECT_FROM has {len(direct_from)} characters, and {LONGEST} are the most: name"
            f" fewer and larger networks, or `{REGION}`"
        )
    for word in words:
        if word != REGION:
            try:
                ipaddress.ip_network(word)
            except ValueError as error:
                raise DeployError(
                    f"DIRECT_FROM takes networks such as 10.0.0.0/8,2001:db8::/32, and the word"
                    f" `{REGION}`: {error}"
                ) from None
    return REGION in words


def region_networks(region: str) -> str:
    """Return the networks of all that runs in a region, one a line; raises DeployError."""
    try:
        answer = fetch(URL, limit=LARGEST, headers={})
    except FetchError as error:
        raise _unknown(region, str(error)) from None
    if answer.status != 200:  # noqa: PLR2004 - OK
        raise _unknown(region, f"{URL} answers {answer.status}")
    try:
        networks = _joined(json.loads(answer.body), region)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unknown(region, f"{URL} can't be read: {error!r}") from None
    if not networks or len(networks) > MOST:
        raise _unknown(region, f"{URL} names {len(networks)} networks of it")
    return "\n".join(networks) + "\n"


def _joined(published: Mapping[str, Any], region: str) -> list[str]:
    v4, v6 = (
        [each[prefix] for each in published[prefixes] if each["region"] == region]
        for prefixes, prefix in (("prefixes", "ip_prefix"), ("ipv6_prefixes", "ipv6_prefix"))
    )
    joined = (
        *ipaddress.collapse_addresses(map(ipaddress.IPv4Network, v4)),
        *ipaddress.collapse_addresses(map(ipaddress.IPv6Network, v6)),
    )
    return list(map(str, joined))


def _unknown(region: str, reason: str) -> DeployError:
    return DeployError(
        f"nothing was changed: the networks of {region} can't be looked up ({reason}): try again,"
        " or name networks of yours by DIRECT_FROM"
    )
