"""SSM and Lambda, asked now and then: how their clients behave when they are not answered."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from botocore.httpsession import URLLib3Session
from botocore.session import get_session

from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.digest import Algorithm, Digest
from chalicelib.errors import TooManyRequestsError, UnavailableError
from chalicelib.registry.outcomes import ObjectChangedError, ObjectMissingError
from chalicelib.registry.proof import Segment, Stretch, Verdict
from chalicelib.registry.service import Limits
from chalicelib.registry.upload.segments import PART_MAXIMUM
from chalicelib.stores.aws import clients
from chalicelib.stores.aws.clients import client
from chalicelib.stores.aws.ssm_keys import ParameterKeys, signing_keys_config
from chalicelib.stores.aws.workers import (
    FunctionWorkers,
    ThreadWorkers,
    answer_event,
    commit_config,
    verify_config,
)
from chalicelib.stores.s3.objects import WORKER_PATIENCE, s3_config
from chalicelib.wiring.registry import COMMIT_SECONDS, SWEEP_SECONDS
from moorage.common.project import PROJECT
from tests.emulators.lost_answers import aws_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSResponse
    from botocore.config import Config

pytestmark = pytest.mark.usefixtures("no_waits")

THROTTLED = (400, json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}))
FAULT = (500, json.dumps({"__type": "InternalServerError"}))


@dataclass
class Service:
    """Answers as it is told to, the last answer again and again; keeps what it was asked."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answered: Callable[[str], tuple[int, str]] | None = None
    """What answers instead, from the path and the body of a request."""
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service that stands for all of AWS: nothing is sent."""
    told = Service()

    def send(_session: object, request: Any) -> AWSResponse:  # noqa: ANN401 - botocore's own
        told.asked.append(f"{urlsplit(request.url).path} {request.body.decode()}")
        status, text = told.answers[min(len(told.asked), len(told.answers)) - 1]
        if told.answered:
            status, text = told.answered(told.asked[-1])
        answer = aws_answer(request.url, status, text.encode())
        answer.headers.update(told.headers)
        return answer

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
    """After two throttled requests the third one reads the signing keys."""
    ring = SigningKeySet(SigningKey.generate())
    held = (200, json.dumps({"Parameter": {"Value": ring.signing.text()}}))
    service.answers = [THROTTLED, THROTTLED, held]
    read = keys()
    assert read.current() == read.current() == ring
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error"), [(THROTTLED, TooManyRequestsError), (FAULT, UnavailableError)]
)
def test_an_unreadable_key_is_an_error_and_not_a_missing_key(
    service: Service, answer: tuple[int, str], error: type[Exception]
) -> None:
    """After four throttled requests the answer is 503, and not a refusal."""
    service.answers = [answer]
    with pytest.raises(error):
        keys().current()
    assert len(service.asked) == 4


def function_workers(**functions: str) -> FunctionWorkers:
    """Return the workers of a function that may call these, and does nothing itself."""
    here = ThreadWorkers(lambda _: pytest.fail("here"), lambda _: pytest.fail("here"))
    known = {"commit_function": None, "verify_function": None, **functions}
    return FunctionWorkers(here, at_once=4, **known)


def test_a_commit_is_handed_over_once_it_is_taken(service: Service) -> None:
    """A fault is repeated; the function is asked to run by itself, with the session's id."""
    service.answers = [FAULT, (202, "")]
    function_workers(commit_function="moorage-commit").commit("a-session")
    assert service.asked == 2 * [
        '/2015-03-31/functions/moorage-commit/invocations {"session": "a-session"}'
    ]


def test_a_commit_that_can_not_be_handed_over_is_an_error(service: Service) -> None:
    """After three failures the client gets an error that it repeats."""
    service.answers = [FAULT]
    with pytest.raises(UnavailableError):
        function_workers(commit_function="moorage-commit").commit("a-session")
    assert len(service.asked) == 3


WORDS = (bytes(range(32)), bytes(range(32, 64)))
STRETCH = Stretch(
    "direct/s/parts",
    '"etag-3"',
    3 * 64 + 5,
    Digest.of(b"blob"),
    (
        Segment(Algorithm.SHA256, 1, 64, 128, *WORDS),
        Segment(Algorithm.SHA256, 3, 192, 197, WORDS[1], None),
    ),
)


def through_lambda(service: Service, verify: Callable[[Stretch], Verdict]) -> Verdict:
    """Let the verify function answer with what `verify` says of the stretch."""
    workers = function_workers(verify_function="moorage-verify")
    service.answers = [(200, "")]

    def run(asked: str) -> tuple[int, str]:
        path, _, event = asked.partition(" ")
        assert path == "/2015-03-31/functions/moorage-verify/invocations"
        return 200, json.dumps(answer_event(json.loads(event), verify))

    service.answered = run
    return workers.verify(STRETCH)


def test_a_stretch_and_its_verdict_are_the_same_at_both_ends(service: Service) -> None:
    """The function gets the driver's stretch, and the driver the function's verdict."""
    seen: list[Stretch] = []

    def verify(stretch: Stretch) -> Verdict:
        seen.append(stretch)
        return Verdict(frozenset({3}), frozenset({1}))

    assert through_lambda(service, verify) == Verdict(frozenset({3}), frozenset({1}))
    assert seen == [STRETCH]


@pytest.mark.parametrize("lost", [ObjectMissingError, ObjectChangedError])
def test_bytes_that_a_worker_finds_lost_are_lost(service: Service, lost: type[Exception]) -> None:
    """It is an answer, and no failure of the function."""

    def verify(_: Stretch) -> Verdict:
        raise lost("direct/s/parts")

    with pytest.raises(ObjectChangedError, match="direct/s/parts"):
        through_lambda(service, verify)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (FAULT, UnavailableError),
        ((429, json.dumps({"__type": "TooManyRequestsException"})), TooManyRequestsError),
    ],
)
def test_a_verdict_that_did_not_come_is_none(
    service: Service, answer: tuple[int, str], error: type[Exception]
) -> None:
    """The driver asks again itself, as long as it has time: the SDK does not."""
    service.answers = [answer]
    with pytest.raises(error):
        function_workers(verify_function="moorage-verify").verify(STRETCH)
    assert len(service.asked) == 1


def test_a_function_that_failed_gave_no_verdict(service: Service) -> None:
    """Whatever its error says, Lambda's answer to the call is 200."""
    service.answers = [(200, json.dumps({"errorMessage": "timed out"}))]
    service.headers = {"X-Amz-Function-Error": "Unhandled"}
    with pytest.raises(UnavailableError):
        function_workers(verify_function="moorage-verify").verify(STRETCH)


def test_a_process_without_a_function_does_its_work_itself() -> None:
    """So does a local registry."""
    asked: SimpleQueue[object] = SimpleQueue()
    here = ThreadWorkers(asked.put, lambda stretch: Verdict(frozenset({stretch.size})))
    workers = FunctionWorkers(here, commit_function=None, verify_function=None, at_once=1)
    assert workers.verify(STRETCH) == Verdict(frozenset({STRETCH.size}))
    workers.commit("a-session")
    assert asked.get(timeout=10) == "a-session"


def test_the_waits_for_a_commit_fit_into_the_functions() -> None:
    """After the longest waits between repeats, a function has time to answer."""
    config = json.loads((PROJECT / ".chalice/config.json").read_text(encoding="utf-8"))
    authorizer = config["stages"]["v2"]["lambda_functions"]["authorizer"]
    assert _longest(signing_keys_config()) < authorizer["lambda_timeout"]
    assert _longest(commit_config()) < config["lambda_timeout"]


def test_a_verdict_is_waited_for_longer_than_its_function_lives() -> None:
    """And not so long that the driver would count as one that hangs, or its own function ends."""
    config = json.loads((PROJECT / ".chalice/config.json").read_text(encoding="utf-8"))
    functions, limits = config["stages"]["v2"]["lambda_functions"], Limits()
    options: Any = verify_config(limits.verify_workers)
    waits = options.connect_timeout + options.read_timeout
    assert limits.verify_time < functions["verify"]["lambda_timeout"] < options.read_timeout
    assert limits.drive_step + waits < limits.drive_longest
    for name, seconds in (("commit", COMMIT_SECONDS), ("sweep", SWEEP_SECONDS)):
        assert seconds + waits < functions[name]["lambda_timeout"]
    assert options.max_pool_connections == limits.verify_workers
    # A part is read by one stream: it has to come within what is left of the function's time.
    assert PART_MAXIMUM / (functions["verify"]["lambda_timeout"] - limits.verify_time) < 10e6


def test_the_timeouts_of_s3_fit_into_the_functions() -> None:
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


@pytest.mark.parametrize("config", [None, s3_config(patience=7)], ids=["none", "its own"])
def test_a_client_says_that_it_is_moorage_and_keeps_its_configuration(
    service: Service, config: Config | None
) -> None:
    """Its name is the same for each call: botocore would put one together anew each time."""
    del service  # whose credentials it is made with
    made = client("s3", config)
    assert made.meta.config.user_agent == "moorage"
    assert made.meta.config.read_timeout == (7 if config else 60)
