"""Templates, policies and settings use the same names; what is merged into the API's template."""

from __future__ import annotations

import inspect
import json
import logging
import re
from typing import Any

import pytest
from aws_lambda_powertools.shared import constants

from chalicelib.registry.service import Limits
from chalicelib.settings import AccessSettings, Settings, SettingsError
from moorage.common.data import SIGNING_KEY
from moorage.common.project import API_TEMPLATE, PROJECT
from moorage.gateway.server import load_function
from tests.infra.templates import API, CONFIG, DATA, POLICIES

SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in [PROJECT / "app.py", *sorted((PROJECT / "chalicelib").rglob("*.py"))]
)
IMPORTED = re.compile(r"\$\{DataStack\}-(\w+)")
PARAMETERS: dict[str, Any] = API["Parameters"]
ACCESS = {"MOORAGE_ACCESS_TABLE", "MOORAGE_URL", "MOORAGE_SIGNING_KEY"}
WATCHED = {"MOORAGE_METRICS", "MOORAGE_TRACING", "POWERTOOLS_LOG_LEVEL", "POWERTOOLS_SERVICE_NAME"}
CHOICES = {
    "MOORAGE_HEAD_STRATEGY": "head_strategy",
    "MOORAGE_INLINE_LIMIT": "inline_limit",
    "MOORAGE_MANIFEST_LIMIT": "manifest_limit",
    "MOORAGE_SPARSE_INDEX": "sparse_index",
    "MOORAGE_TRASH_DAYS": "trash_days",
}
DATA_NAMES = {"MOORAGE_BUCKET", "MOORAGE_REGISTRY_TABLE", "MOORAGE_UPLOADS_TABLE"}
NETWORKS = {"MOORAGE_DIRECT_FROM"}
PAGES = {"MOORAGE_CORS_ORIGINS"}
COLLECTING = {"MOORAGE_GC", "MOORAGE_GC_GRACE"}
OPTIONAL = (
    WATCHED
    | set(CHOICES)
    | NETWORKS
    | PAGES
    | COLLECTING
    | {"MOORAGE_COMMIT_FUNCTION", "MOORAGE_VERIFY_FUNCTION"}
)
"""Variables whose settings have a default."""


FUNCTIONS = ("APIHandler", "Authorizer", "Commit", "Verify", "Sweep", "Collect")


def variables(function: str) -> dict[str, Any]:
    """Return a function's environment."""
    found: dict[str, Any] = API["Resources"][function]["Properties"]["Environment"]
    return dict(found["Variables"])


def exports(template: dict[str, Any]) -> set[str]:
    """Return the names of a template's exports, without the stack's name."""
    names = (output.get("Export", {}).get("Name", {}) for output in template["Outputs"].values())
    return {name["Fn::Sub"].removeprefix("${AWS::StackName}-") for name in names if name}


def needed(kind: type[Settings | AccessSettings], given: set[str]) -> set[str]:
    """Return those of the given variables that settings can't be read without."""
    # Optional ones keep their defaults: another test checks the values that parameters allow.
    environment = dict.fromkeys(given - OPTIONAL, "x") | {"MOORAGE_URL": "https://a"}
    kind.read(environment)
    without = set()
    for name in given:
        less = {other: value for other, value in environment.items() if other != name}
        try:
            kind.read(less)
        except SettingsError:
            without.add(name)
    return without


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_the_variables_that_it_reads_and_no_more(function: str) -> None:
    """Each variable is required, or changes a default."""
    given = set(variables(function))
    read: set[str] = set()
    if function != "Authorizer":
        read |= needed(Settings, given)
    if function in {"APIHandler", "Authorizer"}:
        read |= needed(AccessSettings, given)
    assert given - read <= OPTIONAL
    assert read <= given


def test_every_variable_is_read_by_the_code() -> None:
    """A misspelt variable would never be read."""
    for function in FUNCTIONS:
        for name in variables(function):
            ours = f'"{name.removeprefix("MOORAGE_")}"' in SOURCES or f'"{name}"' in SOURCES
            assert ours or name in vars(constants).values(), name


def test_every_import_has_an_export() -> None:
    """The API's stack and its policies import each export of the data stack, and nothing else."""
    texts = [API_TEMPLATE.read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in POLICIES.values()]
    imported = {name for text in texts for name in IMPORTED.findall(text)}
    assert imported == exports(DATA)


def test_every_policy_belongs_to_one_function() -> None:
    """No file is unused, and no two functions share one."""
    stage = CONFIG["stages"]["v2"]
    used = [stage["iam_policy_file"]]
    used += [each["iam_policy_file"] for each in stage["lambda_functions"].values()]
    assert sorted(used) == sorted(POLICIES)


def test_the_stage_is_v2() -> None:
    """AWS's own URL is then a registry's: clients look for one at /v2/."""
    assert CONFIG["api_gateway_stage"] == "v2"
    assert list(CONFIG["stages"]) == ["v2"]


def test_no_resource_has_a_price_by_the_hour() -> None:
    """In the stacks that every deployment creates."""
    free_or_by_use = {
        "AWS::ApiGateway::BasePathMapping",
        "AWS::ApiGateway::DomainName",
        "AWS::DynamoDB::Table",
        "AWS::IAM::ManagedPolicy",
        "AWS::Logs::LogGroup",
        "AWS::Route53::RecordSet",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
    }
    resources = [*API["Resources"].values(), *DATA["Resources"].values()]
    assert {each["Type"] for each in resources if "Type" in each} == free_or_by_use
    text = json.dumps(API)
    for word in ("ProvisionedConcurrency", "ReservedConcurrent", "CacheCluster", "VpcConfig"):
        assert word not in text


def test_each_function_has_the_variables_that_it_needs() -> None:
    """The authorizer has none of the data's, the background functions none of access.

    None has MOORAGE_AUTH, which opens a registry on a laptop.
    """
    own = {"MOORAGE_COMMIT_FUNCTION", *NETWORKS, *PAGES, *CHOICES}
    assert set(variables("APIHandler")) == DATA_NAMES | ACCESS | WATCHED | own
    assert set(variables("Authorizer")) == ACCESS | WATCHED
    assert set(variables("Verify")) == DATA_NAMES | WATCHED
    driving = DATA_NAMES | WATCHED | {"MOORAGE_VERIFY_FUNCTION"}
    assert set(variables("Commit")) == driving
    assert set(variables("Sweep")) == driving | {"MOORAGE_TRASH_DAYS"}
    assert set(variables("Collect")) == DATA_NAMES | WATCHED | COLLECTING | {"MOORAGE_TRASH_DAYS"}
    shared = {name: variables("APIHandler")[name] for name in ACCESS | WATCHED}
    assert shared == variables("Authorizer")


def settings(**choices: str) -> Settings:
    """Return the code's settings for an environment with these variables."""
    return Settings.read(dict.fromkeys(DATA_NAMES, "x") | choices)


@pytest.mark.parametrize("variable", CHOICES)
def test_every_allowed_value_of_a_parameter_is_accepted_by_the_code(variable: str) -> None:
    """The parameter's default is the code's own, and its bounds are the code's."""
    parameter = PARAMETERS[variables("APIHandler")[variable]["Ref"]]
    field = CHOICES[variable]
    default = str(parameter["Default"])
    assert getattr(settings(**{variable: default}), field) == getattr(settings(), field)
    if parameter["Type"] == "Number":
        for bound in (parameter["MinValue"], parameter["MaxValue"]):
            assert getattr(settings(**{variable: str(bound)}), field) == bound
        with pytest.raises(SettingsError):
            settings(**{variable: str(parameter["MaxValue"] + 1)})
    else:
        taken = {getattr(settings(**{variable: v}), field) for v in parameter["AllowedValues"]}
        assert len(taken) == len(parameter["AllowedValues"]) > 1
    assert f'"{variable.removeprefix("MOORAGE_")}"' in inspect.getsource(Settings.read)


def test_the_collector_is_on_and_waits_for_a_day_by_default() -> None:
    """Both parameters' defaults and bounds are the code's own, which a function holds to."""
    given = variables("Collect")
    switch, grace = PARAMETERS[given["MOORAGE_GC"]["Ref"]], PARAMETERS["GraceHours"]
    assert given["MOORAGE_GC_GRACE"] == {"Fn::Sub": "${GraceHours}h"}
    assert [settings(MOORAGE_GC=each).collect for each in switch["AllowedValues"]] == [False, True]
    assert settings(MOORAGE_GC=switch["Default"]).collect is settings().collect is True
    in_lambda = {"AWS_LAMBDA_FUNCTION_NAME": "moorage-collect"}
    hours = (grace["Default"], grace["MinValue"], grace["MaxValue"])
    read = [settings(MOORAGE_GC_GRACE=f"{each}h", **in_lambda).grace for each in hours]
    assert read == [each * 3600 for each in hours]
    assert settings().grace == read[0] == Limits().link_grace
    for beyond in (grace["MinValue"] - 1, grace["MaxValue"] + 1):
        with pytest.raises(SettingsError):
            settings(MOORAGE_GC_GRACE=f"{beyond}h", **in_lambda)


def test_by_default_no_network_downloads_from_s3() -> None:
    """The parameter's default is the code's own: the edge serves every client."""
    parameter = PARAMETERS[variables("APIHandler")["MOORAGE_DIRECT_FROM"]["Ref"]]
    assert settings(MOORAGE_DIRECT_FROM=parameter["Default"]).direct_from == ()


ORIGIN_TEXTS: dict[str, tuple[str, ...] | None] = {
    "": (),
    "*": ("*",),
    "https://ui.example.com": ("https://ui.example.com",),
    "http://localhost:3000,https://ui": ("http://localhost:3000", "https://ui"),
    "http://[::1]:8080": ("http://[::1]:8080",),
    "https://a:8043": ("https://a:8043",),
    **dict.fromkeys(
        (
            "*,https://a",
            "https://a,*",
            "https://*.example.com",
            "https://a,",
            "https://a,,https://b",
            "https://a;https://b",
            "https://a/",
            "https://a/path",
            "https://A",
            "https://a:443",
            "http://a:80,https://b",
            "https://a:",
            "https://a:08",
            "https://a:123456",
            "https://u@a",
            "https://",
            "a.example.com",
            "ftp://a",
            "null",
            "https://a\n",
            "https://a'",
        )
    ),
}
"""What each text names; None: nothing that can be."""


@pytest.mark.parametrize(("text", "read"), ORIGIN_TEXTS.items())
def test_the_template_and_the_code_take_the_same_origins(
    text: str, read: tuple[str, ...] | None
) -> None:
    """No stack is made whose function can't start; by default no page of another site may ask."""
    parameter = PARAMETERS[variables("APIHandler")["MOORAGE_CORS_ORIGINS"]["Ref"]]
    assert parameter["Default"] == ""
    # As CloudFormation's own match, `$` is the very end.
    pattern = parameter["AllowedPattern"].replace("$", r"\Z")
    assert bool(re.search(pattern, text)) is (read is not None)
    if read is None:
        with pytest.raises(SettingsError, match=r"MOORAGE_CORS_ORIGINS: .* is no origin"):
            settings(MOORAGE_CORS_ORIGINS=text)
    else:
        assert settings(MOORAGE_CORS_ORIGINS=text).cors_origins == read


def test_methods_without_a_login_have_a_separate_throttle() -> None:
    """Each is below the rate of all others."""
    settings = API["Resources"]["RestAPI"]["Properties"]["MethodSettings"]
    rates = {
        (each["ResourcePath"], each["HttpMethod"]): (
            each["ThrottlingRateLimit"]["Ref"],
            each["ThrottlingBurstLimit"]["Ref"],
        )
        for each in settings
    }
    everything = rates.pop(("/*", "*"))
    # As API Gateway writes a path: the slashes inside it are ~1, and the root is one slash.
    routes: dict[str, dict[str, Any]] = vars(load_function())["routes"]
    anonymous = {
        ("/" if path == "/" else f"/{path.replace('/', '~1')}", method)
        for path, methods in routes.items()
        for method, view in methods.items()
        if view.authorizer is None
    }
    assert rates.keys() == anonymous
    (token,) = set(rates.values())
    for name, all_others in zip(token, everything, strict=True):
        assert PARAMETERS[name]["Default"] < PARAMETERS[all_others]["Default"]


def test_no_log_level_hides_the_lines_that_alarms_count() -> None:
    """They are written at WARNING."""
    levels = PARAMETERS["LogLevel"]["AllowedValues"]
    assert PARAMETERS["LogLevel"]["Default"] == "INFO"
    assert max(logging.getLevelNamesMapping()[name] for name in levels) == logging.WARNING


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("", True),
        ("https://abc123.execute-api.eu-west-1.amazonaws.com", True),
        ("https://registry.example:8443", True),
        ("http://registry.example", False),
        ("https://registry.example/", False),
        ("https://registry.example/v2", False),
        ("https://Registry.example", False),
        ("registry.example", False),
        ("https://a'b", False),
        ('https://a"b', False),
        ("https://${x}", False),
    ],
)
def test_only_a_url_without_a_path_is_allowed_as_public_url(url: str, *, allowed: bool) -> None:
    """It is copied into the challenge: no quotes, and never without TLS."""
    assert PARAMETERS["PublicUrl"]["Default"] == ""
    assert bool(re.search(PARAMETERS["PublicUrl"]["AllowedPattern"], url)) is allowed


def test_the_signing_keys_default_name_is_that_of_the_commands() -> None:
    """A name must fit behind `parameter` in an ARN."""
    parameter = PARAMETERS["SigningKeyParameter"]
    assert parameter["Default"] == SIGNING_KEY
    assert re.search(parameter["AllowedPattern"], SIGNING_KEY)
    for name in ("", "/", "signing-key", "/a//b", "/a*", "/a/"):
        assert not re.search(parameter["AllowedPattern"], name)
