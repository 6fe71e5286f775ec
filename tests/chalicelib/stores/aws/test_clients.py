"""SSM and Lambda, asked now and then: how their clients behave when they are not answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.httpsession import URLLib3Session
from botocore.session import get_session

from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.errors import TooManyRequestsError, UnavailableError
from chalicelib.stores.aws import clients
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.ssm_keys import ParameterKeys, signing_keys_config
from chalicelib.stores.aws.workers import FunctionWorkers, function_workers_config
from chalicelib.stores.s3.objects import WORKER_PATIENCE, s3_config
from chalicelib.wiring.registry import COMMIT_SECONDS, SWEEP_SECONDS
from moorage.common.project import PROJECT
from tests.emulators.lost_answers import aws_answer

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

pytestmark = pytest.mark.usefixtures("no_waits")

THROTTLED = (400, json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}))
FAULT = (500, json.dumps({"__type": "InternalServerError"}))


@dataclass
class Service:
    """Answers as it is told to, the last answer again and again; keeps what it was asked."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that stands for all of AWS: nothing is sent."""
    told = Service()

    def send(_session: object, request: Any) -> AWSResponse:  # noqa: ANN401 - botocore's own
        told.asked.append(f"{urlsplit(request.url).path} {request.body.decode()}")
        status, text = told.answers[min(len(told.asked), len(told.answers)) - 1]
        return aws_answer(request.url, status, text.encode())

    monkeypatch.setattr(URLLib3Session, "send", send)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    # The process's own one may remember other credentials.
    monkeypatch.setattr(clients, "session", get_session)
    return told


def keys() -> ParameterKeys:
    """Return the signing keys as a function reads them."""
    return ParameterKeys(client("ssm", signing_keys_config()), "/key")


def test_a_burst_of_new_processes_still_finds_the_key(service: Service) -> None:
    """Refused twice for the account's rate, the signing keys are read at the third time."""
    ring = SigningKeySet(SigningKey.generate())
    held = (200, json.dumps({"Parameter": {"Value": ring.signing.text()}}))
    service.answers = [THROTTLED, THROTTLED, held]
    read = keys()
    assert read.current() == read.current() == ring
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error"), [(THROTTLED, TooManyRequestsError), (FAULT, UnavailableError)]
)
def test_a_key_that_cant_be_read_is_no_missing_key(
    service: Service, answer: tuple[int, str], error: type[Exception]
) -> None:
    """Four times refused, it says so: nobody is told that they may not come in."""
    service.answers = [answer]
    with pytest.raises(error):
        keys().current()
    assert len(service.asked) == 4


def test_a_commit_is_handed_over_once_it_is_taken(service: Service) -> None:
    """A fault is repeated; the function is asked to run by itself, with the session's id."""
    service.answers = [FAULT, (202, "")]
    FunctionWorkers("moorage-commit").commit("a-session")
    assert service.asked == 2 * [
        '/2015-03-31/functions/moorage-commit/invocations {"session": "a-session"}'
    ]


def test_a_commit_that_cant_be_handed_over_is_told(service: Service) -> None:
    """Three times refused, it is an error that a client repeats."""
    service.answers = [FAULT]
    with pytest.raises(UnavailableError):
        FunctionWorkers("moorage-commit").commit("a-session")
    assert len(service.asked) == 3


def test_waits_fit_into_the_functions() -> None:
    """After the longest waits between repeats a function still has time to answer."""
    config = json.loads((PROJECT / ".chalice/config.json").read_text(encoding="utf-8"))
    authorizer = config["stages"]["v2"]["lambda_functions"]["authorizer"]
    assert _longest(signing_keys_config()) < authorizer["lambda_timeout"]
    assert _longest(function_workers_config()) < config["lambda_timeout"]


def test_what_s3_may_take_fits_into_the_functions() -> None:
    """A request begun in a worker's last moment may fail three times before Lambda ends it."""
    config = json.loads((PROJECT / ".chalice/config.json").read_text(encoding="utf-8"))
    functions = config["stages"]["v2"]["lambda_functions"]
    options: Any = s3_config(patience=WORKER_PATIENCE)
    each = options.connect_timeout + options.read_timeout
    attempts = options.retries["total_max_attempts"]
    longest = attempts * each + 2 ** (attempts - 1) - 1
    for name, seconds in (("commit", COMMIT_SECONDS), ("sweep", SWEEP_SECONDS)):
        assert seconds + longest < functions[name]["lambda_timeout"]
    request: Any = s3_config()
    assert request.connect_timeout + request.read_timeout < config["lambda_timeout"]


def _longest(config: Any) -> float:  # noqa: ANN401 - botocore's options are made at run time
    # The standard mode waits up to 1, 2, 4, ... seconds; what is refused is refused at once.
    attempts = config.retries["total_max_attempts"]
    return float(2 ** (attempts - 1) - 1 + config.connect_timeout + config.read_timeout)
