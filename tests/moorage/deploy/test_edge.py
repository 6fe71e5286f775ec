"""`moorage deploy --edge`: a third stack, the URL that clients see, and who knows which key."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.signing_keys import SigningKeySet
from moorage.cli import main as cli
from moorage.common.project import EDGE_FUNCTION
from moorage.deploy import edge as deploy_edge
from moorage.deploy.stacks import Stacks, WantedStack
from tests.moorage.deploy.cloud import DATA, EDGE, KEY, STACK, answering, refusal
from tests.moorage.deploy.cloudformation import ACCOUNT, EDGE_HOST, STORE

if TYPE_CHECKING:
    from tests.moorage.deploy.cloud import Cloud

USUAL = deploy_edge.AT_FIRST
EDGE_URL = f"https://{EDGE_HOST}"
CERTIFICATE = f"arn:aws:acm:us-east-1:{ACCOUNT}:certificate/1"
ELSEWHERE = f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/1"
DOMAIN = ("--domain", "registry.example.com", "--certificate", CERTIFICATE)


def ticket_keys(cloud: Cloud) -> str:
    """Return the keys that the functions make of the parameter, as the store is to hold them."""
    stored = cloud.client("ssm").get_parameter(Name=KEY, WithDecryption=True)["Parameter"]
    keys = SigningKeySet.parse(stored["Value"]).ticket_keys()
    return " ".join(base64.urlsafe_b64encode(key).decode().rstrip("=") for key in keys)


def test_the_edges_host_becomes_the_registrys_url(cloud: Cloud) -> None:
    """The bucket lets it in, its function has the keys, and the command says who needs no proxy."""
    made = cloud.done("deploy", "--edge", "yes")
    assert f"The registry is at {EDGE_URL}/v2/" in made.out
    assert f"docker push {EDGE_HOST}/demo/my-image:1" in made.out
    assert "Docker 29, buildx" in made.out
    edge, api = cloud.stack(EDGE), cloud.stack()
    assert api.parameters["PublicUrl"] == EDGE_URL
    assert (
        edge.parameters["ApiHost"]
        == f"{api.outputs['RestAPIId']}.execute-api.us-east-1.amazonaws.com"
    )
    assert edge.parameters["DataStack"] == DATA
    assert cloud.stack(DATA).parameters["EdgeDistribution"] == "E111"
    assert cloud.edge_keys() == ticket_keys(cloud)
    assert {each.get("MOORAGE_URL", EDGE_URL) for each in cloud.variables().values()} == {EDGE_URL}


def test_the_template_is_sent_with_the_function(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text of infra/edge.js, whole."""
    sent: list[Any] = []
    put = Stacks.put

    def noted(self: Stacks, wanted: WantedStack) -> Any:  # noqa: ANN401 - a stack
        sent.append(wanted)
        return put(self, wanted)

    monkeypatch.setattr(Stacks, "put", noted)
    cloud.done("deploy", "--edge", "yes", "--edge-price-class", "PriceClass_All")
    (edge,) = [each for each in sent if each.name == EDGE]
    code = edge.template["Resources"]["Function"]["Properties"]["FunctionCode"]
    assert code == EDGE_FUNCTION.read_text(encoding="utf-8")
    assert edge.parameters["PriceClass"] == "PriceClass_All"


def test_a_second_deployment_keeps_the_edge_and_changes_nothing(cloud: Cloud) -> None:
    """What is not given stays; a price class too."""
    cloud.done("deploy", "--edge", "yes", "--edge-price-class", "PriceClass_All")
    again = cloud.done("deploy")
    for name in (STACK, DATA, EDGE):
        assert f"{name}: nothing changed" in again.err
    assert "stored the keys" not in again.err
    assert cloud.stack(EDGE).parameters["PriceClass"] == "PriceClass_All"
    assert f"The registry is at {EDGE_URL}/v2/" in again.out


def test_without_an_edge_the_bucket_lets_nobody_in(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its stack goes, and API Gateway's own name is the registry's again."""
    cloud.done("deploy", "--edge", "yes")
    monkeypatch.setenv("EDGE", "no")
    gone = cloud.done("deploy")
    assert cloud.find(EDGE) is None
    assert cloud.stack(DATA).parameters["EdgeDistribution"] == ""
    assert re.search(r"The registry is at https://\w+\.execute-api\.", gone.out)
    assert "Docker 29" not in gone.out
    monkeypatch.delenv("EDGE")
    cloud.done("deploy")
    assert cloud.find(EDGE) is None


def test_destroy_takes_the_edge_down_first(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands before the API, and its data stack exports what it imports."""
    cloud.done("deploy", "--edge", "yes")
    calls = answering(monkeypatch, "DeleteStack", iter([]))
    cloud.done("destroy", "--data", "delete", "--confirm", DATA)
    assert [each["StackName"] for each in calls] == [EDGE, STACK, DATA]
    assert cloud.find(EDGE) is None


def test_a_domain_is_the_edges(cloud: Cloud) -> None:
    """It moves from the API to the edge and back; without a zone the target is CloudFront's."""
    cloud.done("deploy", *DOMAIN)
    assert cloud.stack().parameters["DomainName"] == "registry.example.com"
    moved = cloud.done("deploy", "--edge", "yes")
    assert f"once a CNAME record of registry.example.com names {EDGE_HOST}" in moved.out
    assert cloud.stack().parameters["DomainName"] == ""
    assert cloud.stack().parameters["PublicUrl"] == "https://registry.example.com"
    assert cloud.stack(EDGE).parameters["DomainName"] == "registry.example.com"
    assert cloud.stack(EDGE).parameters["CertificateArn"] == CERTIFICATE
    cloud.done("deploy", "--domain", "none")
    assert cloud.stack(EDGE).parameters["DomainName"] == ""
    assert cloud.stack().parameters["PublicUrl"] == EDGE_URL
    cloud.done("deploy", *DOMAIN)
    cloud.done("deploy", "--edge", "no")
    assert cloud.stack().parameters["DomainName"] == "registry.example.com"
    assert cloud.stack().parameters["CertificateArn"] == CERTIFICATE


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--edge", "yes", "--domain", "r.example.com"), "give both DOMAIN and CERTIFICATE"),
        (
            ("--edge", "yes", "--domain", "r.example.com", "--certificate", ELSEWHERE),
            "takes a certificate of us-east-1 only",
        ),
        (("--edge-price-class", "PriceClass_All"), "give EDGE=yes too"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    cloud: Cloud, words: tuple[str, ...], told: str
) -> None:
    """Before anything is created."""
    assert told in cloud.refused("deploy", *words).err
    assert cloud.tables() == []


@pytest.mark.parametrize("region", ["cn-north-1", "us-gov-west-1"])
def test_where_there_is_no_cloudfront_an_edge_is_refused(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """China's is another one, GovCloud has none; a registry goes without."""
    monkeypatch.setenv("AWS_REGION", region)
    assert "deploy without an edge (EDGE=no)" in cloud.refused("deploy", "--edge", "yes").err


def test_a_registry_that_stands_without_an_edge_gets_none_unasked(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its URL would change, and images are named by it; a new one has what is usual."""
    cloud.done("deploy", "--edge", "no")
    monkeypatch.setattr(deploy_edge, "AT_FIRST", USUAL)
    cloud.done("deploy")
    assert cloud.find(EDGE) is None
    cloud.done("deploy", "--stage", "y")
    assert cloud.find("moorage-y-edge") is not None


def test_rotating_the_key_stores_it_at_the_edge(cloud: Cloud) -> None:
    """At each of the three steps it has the keys that the functions have."""
    cloud.done("deploy", "--edge", "yes")
    seen = [cloud.edge_keys()]
    for _ in range(3):
        assert cli.main(["key", "rotate", "--force", "--signing-key", KEY]) == 0
        assert cloud.edge_keys() == ticket_keys(cloud)
        seen.append(cloud.edge_keys())
    old, both, swapped, new = seen
    assert both.split() == [old, new]
    assert swapped.split() == [new, old]


@pytest.mark.parametrize(
    ("operation", "code", "taken"),
    [("ListExports", "AccessDenied", False), ("PutKey", "AccessDeniedException", True)],
)
def test_an_edge_that_can_not_be_updated_is_an_error_with_advice(  # noqa: PLR0913 - fixtures among them
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    operation: str,
    code: str,
    taken: bool,  # noqa: FBT001 - a case
) -> None:
    """Without the right to find the edge nothing changes; after the step, deploy again."""
    cloud.done("deploy", "--edge", "yes")
    before = ticket_keys(cloud)
    answering(monkeypatch, operation, iter([refusal(code, operation)] * 9))
    assert cli.main(["key", "rotate", "--force", "--signing-key", KEY]) == 1
    error = capsys.readouterr().err
    assert (ticket_keys(cloud) != before) is taken
    assert ("run `moorage deploy`" in error) is taken
    monkeypatch.undo()


def test_a_store_that_others_change_is_read_again(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conflict is no failure, unless it never ends."""
    conflicts = [refusal("ConflictException", "PutKey")] * 2
    calls = answering(monkeypatch, "PutKey", iter(conflicts))
    cloud.done("deploy", "--edge", "yes")
    assert [each["KvsARN"] for each in calls] == [STORE] * 3
    answering(monkeypatch, "PutKey", iter(conflicts * 2))
    answering(monkeypatch, "GetKey", iter([{"Value": "others"}] * 9))
    assert "changed all the time" in cloud.refused("deploy").err
