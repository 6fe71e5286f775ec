"""The edge of a deployment: its stack, its address, and the settings that depend on it.

docs/edge.md has the reasons. This module must never add an edge to an existing registry unless the
user asks for it: the names of its images would have another host.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from moorage.common.project import EDGE_FUNCTION, EDGE_TEMPLATE, load_template
from moorage.deploy import DeployError
from moorage.deploy.account import Account, StageNames
from moorage.deploy.stacks import Stack, WantedStack

AT_FIRST: Final = True
"""Whether a new registry has an edge by default, in partitions with CloudFront."""

DOMAIN, CERTIFICATE, ZONE = "DomainName", "CertificateArn", "HostedZoneId"
_OF_A_DOMAIN: Final = (DOMAIN, CERTIFICATE, ZONE)
_PRICE_CLASS: Final = "PriceClass"
_PARTITION: Final = "aws"
_CERTIFICATES: Final = "us-east-1"


@dataclass(frozen=True, slots=True)
class Front:
    """What clients see: with or without an edge, and under which domain ("": none)."""

    edge: bool
    domain: str
    certificate: str
    zone: str
    price_class: str = ""

    @classmethod
    def of(
        cls,
        wanted: bool | None,  # noqa: FBT001 - an option with three values
        api: Stack | None,
        edge: Stack | None,
        given: Mapping[str, str],
        account: Account,
    ) -> Self:
        """Decide by the option, the stacks that stand, and parameters that are given ("": none).

        Raises DeployError where they contradict each other.
        """
        there = account.session.get_partition_for_region(account.region) == _PARTITION
        if wanted and not there:
            raise DeployError(
                f"there is no CloudFront beside {account.region}: deploy without an edge (EDGE=no)"
            )
        on = (
            wanted
            if wanted is not None
            else edge is not None or (api is None and there and AT_FIRST)
        )
        standing = edge or api
        present = {} if standing is None else standing.parameters
        changed = dict(given)
        if changed.get(DOMAIN) == "":
            changed = {CERTIFICATE: "", ZONE: "", **changed}
        kept = {**present, **changed}
        domain, certificate, zone = (kept.get(name, "") for name in _OF_A_DOMAIN)
        front = cls(on, domain, certificate, zone, given.get(_PRICE_CLASS, ""))
        front._check()
        return front

    def _check(self) -> None:
        if bool(self.domain) is not bool(self.certificate):
            raise DeployError(
                "a domain needs a certificate, and a certificate a domain: give both DOMAIN and"
                " CERTIFICATE"
            )
        if self.edge and self.certificate and f":acm:{_CERTIFICATES}:" not in self.certificate:
            raise DeployError(
                f"the edge takes a certificate of {_CERTIFICATES} only, wherever the registry is:"
                f" make one there and give it as CERTIFICATE, or deploy without an edge (EDGE=no)"
            )
        if self.price_class and not self.edge:
            raise DeployError("there is no edge to change: give EDGE=yes too (docs/edge.md)")

    def of_api(self) -> dict[str, str]:
        """Return the API's own parameters of a domain: none where the edge has the domain."""
        values = ("", "", "") if self.edge else (self.domain, self.certificate, self.zone)
        return dict(zip(_OF_A_DOMAIN, values, strict=True))

    def url(self, host: str) -> str:
        """Return the registry's URL; `host`: AWS's own, empty before it is known."""
        return f"https://{self.domain or host}" if self.domain or host else ""

    def wanted(self, names: StageNames, api: Stack, before: Stack | None) -> WantedStack:
        """Return the edge's stack, for an API that exists."""
        template: dict[str, Any] = load_template(EDGE_TEMPLATE)
        code = EDGE_FUNCTION.read_text(encoding="utf-8")
        template["Resources"]["Function"]["Properties"]["FunctionCode"] = code
        parameters = {
            "DataStack": names.data_stack,
            "ApiHost": api_host(api),
            DOMAIN: self.domain,
            CERTIFICATE: self.certificate,
            ZONE: self.zone,
        }
        kept = {} if before is None else before.parameters
        if price_class := self.price_class or kept.get(_PRICE_CLASS, ""):
            parameters[_PRICE_CLASS] = price_class
        return WantedStack(names.edge_stack, template, parameters, names.tags)


def api_host(api: Stack | None) -> str:
    """Return API Gateway's own host of a registry; empty before the API exists."""
    url = "" if api is None else api.outputs.get("EndpointURL", "")
    return url.removeprefix("https://").removesuffix("/v2/")


def edge_host(edge: Stack | None) -> str:
    """Return CloudFront's own host of a registry; empty before the edge exists."""
    return "" if edge is None else edge.outputs.get("Host", "")
