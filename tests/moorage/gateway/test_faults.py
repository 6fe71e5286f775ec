"""The gateway's own answers: those of infra/api.merge.yaml, and AWS's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from chalicelib.errors import ErrorCode
from moorage.common.intrinsics import TemplateError, resolved
from moorage.common.project import API_TEMPLATE, load_template
from moorage.gateway.authorizer import TokenAuthorizer
from moorage.gateway.faults import GatewayAnswers, GatewayFault, read_answers
from moorage.gateway.resources import Resources
from moorage.gateway.rest_api import RestApi
from tests.infra.intrinsics import decided
from tests.support.servers import Recorder, request, run_gateway

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://registry.example:8443"
RESPONSES: dict[str, Any] = load_template(API_TEMPLATE)["Resources"]["RestAPI"]["Properties"][
    "GatewayResponses"
]
ANSWERS = read_answers(URL)

WORDS = {
    "UNAUTHORIZED": (401, "UNAUTHORIZED"),
    "ACCESS_DENIED": (401, "UNAUTHORIZED"),
    "AUTHORIZER_FAILURE": (503, "UNAVAILABLE"),
    "AUTHORIZER_CONFIGURATION_ERROR": (503, "UNAVAILABLE"),
    "INTEGRATION_TIMEOUT": (504, "UNAVAILABLE"),
    "INTEGRATION_FAILURE": (503, "UNAVAILABLE"),
    "THROTTLED": (429, "TOOMANYREQUESTS"),
    "QUOTA_EXCEEDED": (429, "TOOMANYREQUESTS"),
    "REQUEST_TOO_LARGE": (413, "SIZE_INVALID"),
    "DEFAULT_5XX": (0, "UNKNOWN"),
}
"""Each gateway response that the template words, with its status and the registry's code.

A status of 0: the template names none, and that of the fault stays.
"""
CHALLENGE = f'Bearer realm="{URL}/v2/_token",service="registry.example:8443"'


def test_the_template_replaces_these_answers_and_no_others() -> None:
    """All others, those of a client's own mistake above all, stay as AWS has them."""
    assert set(RESPONSES) == set(WORDS)


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_replaced_body_is_an_error_of_the_registry(name: str) -> None:
    """It is JSON in the OCI spec's form, with a code that goes with this status elsewhere too."""
    answer = ANSWERS.custom[name]
    (error,) = json.loads(answer.body)["errors"]
    assert (answer.status, error["code"]) == WORDS[name]
    # Only a gateway knows the status 504; what it means for a client is what 503 means. UNKNOWN is
    # the code of the API's own 500.
    status = {504: 503}.get(answer.status, answer.status)
    known = {(known.code, known.status) for known in ErrorCode} | {("UNKNOWN", 0)}
    assert (error["code"], status) in known
    assert error["message"]
    assert "\n" not in answer.body.decode()
    assert all(value and "\n" not in value for _, value in answer.headers)
    headers = dict(answer.headers)
    assert headers["Content-Type"] == "application/json"
    assert headers["Docker-Distribution-Api-Version"] == "registry/2.0"
    # The realm is the token endpoint, and the service the host with its port.
    assert headers.get("WWW-Authenticate") == (CHALLENGE if answer.status in {401, 403} else None)
    come_back = answer.status in {0, 429, 503, 504}
    assert headers.get("Retry-After", "").isdecimal() is come_back


@pytest.mark.parametrize("name", sorted(WORDS))
def test_a_page_may_read_each_of_these_answers_where_pages_may_ask(name: str) -> None:
    """One text stands for all origins; by default no answer has one."""
    told = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Retry-After, WWW-Authenticate",
    }
    shared = read_answers(URL, cors=True).custom[name]
    assert {name: value for name, value in shared.headers if name in told} == told
    assert not {name for name, _ in ANSWERS.custom[name].headers} & set(told)
    assert set(shared.headers) - set(ANSWERS.custom[name].headers) == set(told.items())
    template = load_template(API_TEMPLATE)
    for origins, has in (("", False), ("https://a", True), ("*", True)):
        api = decided(template, {"CorsOrigins": origins})["RestAPI"]["Properties"]
        given = api["GatewayResponses"][name]["ResponseParameters"]["Headers"]
        assert (set(told) <= set(given)) is has


def test_an_empty_public_url_is_no_error() -> None:
    """The first deployment has none; CloudFormation selects only parts that exist."""
    challenge = dict(read_answers("").custom["UNAUTHORIZED"].headers)["WWW-Authenticate"]
    assert challenge == 'Bearer realm="/v2/_token",service=""'


@pytest.mark.parametrize("fault", GatewayFault)
def test_a_fault_that_the_template_does_not_replace_has_awss_answer(fault: GatewayFault) -> None:
    """A replaced one keeps the x-amzn-ErrorType of AWS."""
    answer = ANSWERS.to(fault)
    if fault.value.response in WORDS:
        assert answer.status == (WORDS[fault.value.response][0] or fault.value.status)
        assert set(fault.error_headers) <= set(answer.headers)
        assert [name for name, _ in answer.headers].count("Content-Type") == 1
    else:
        assert answer == fault.answer()
    assert GatewayAnswers().to(fault) == fault.answer()


@pytest.mark.parametrize("fault", [each for each in GatewayFault if each.value.status >= 500])
def test_every_failure_with_a_template_has_retry_after(fault: GatewayFault) -> None:
    """Without it a client gives up, though its bytes are kept."""
    headers = dict(ANSWERS.to(fault).headers)
    # A gateway that stops is no API Gateway's.
    assert ("Retry-After" in headers) is (fault is not GatewayFault.STOPPING)


def test_every_response_of_the_template_belongs_to_a_fault() -> None:
    """No name is misspelt."""
    assert set(RESPONSES) <= {fault.value.response for fault in GatewayFault}


def test_a_client_gets_the_templates_answer() -> None:
    """The challenge has its own header name, which a function's answer would lose."""
    asked = TokenAuthorizer(Recorder())
    api = RestApi(Resources({"/": ("GET", "HEAD")}), {("/", "GET"): asked}, ANSWERS)
    with run_gateway(Recorder(), api=api) as url:
        status, headers, body = request(url, "GET", "/v2/")
    assert status == 401
    assert headers["WWW-Authenticate"].startswith('Bearer realm="https://registry.example:8443/')
    assert headers["x-amzn-ErrorType"] == "UnauthorizedException"
    assert headers["x-amzn-RequestId"]
    assert body == ANSWERS.custom["UNAUTHORIZED"].body


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"Ref": "PublicUrl"}, "https://h"),
        ({"Fn::Sub": "<${PublicUrl}>"}, "<https://h>"),
        ({"Fn::Sub": ["${A}${PublicUrl}", {"A": {"Ref": "PublicUrl"}}]}, "https://hhttps://h"),
        ({"Fn::Sub": ["${A}", {"A": "${PublicUrl}"}]}, "${PublicUrl}"),
        ({"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "PublicUrl"}]}]}, "h"),
    ],
)
def test_a_value_is_evaluated_as_cloudformation_does(value: object, text: str) -> None:
    """A parameter's value is not evaluated again."""
    assert resolved(value, {"PublicUrl": "https://h"}) == text


@pytest.mark.parametrize(
    "value",
    [
        {"Ref": "Other"},
        {"Fn::Sub": "${Other}"},
        {"Fn::Sub": "${AWS::Region}"},
        {"Fn::GetAtt": ["RestAPI", "Arn"]},
        {"Fn::Select": [0, ["a", "b"]]},
        7,
    ],
)
def test_a_value_that_can_not_be_evaluated_is_an_error(value: object) -> None:
    """No answer is sent with a part missing."""
    with pytest.raises(TemplateError):
        resolved(value, {"PublicUrl": "https://h"})


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("'fine'", '{"message":"$context.error.message"}'),
        ("fine", "{}"),
        ("'it's'", "{}"),
        ("'", "{}"),
        ("context.requestId", "{}"),
    ],
)
def test_a_template_with_variables_is_refused(tmp_path: Path, header: str, body: str) -> None:
    """Only API Gateway can fill them in."""
    response = {
        "StatusCode": 401,
        "ResponseParameters": {"Headers": {"X": header}},
        "ResponseTemplates": {"application/json": body},
    }
    template = tmp_path / "api.yaml"
    api = {"Properties": {"GatewayResponses": {"UNAUTHORIZED": response}}}
    template.write_text(yaml.safe_dump({"Resources": {"RestAPI": api}}))
    with pytest.raises(TemplateError, match="UNAUTHORIZED"):
        read_answers(URL, template)
