"""MiniStack as a child process, mended at run time where it is not as AWS: see `MENDS`.

Each mend replaces one name of MiniStack's, is small, and has its reason. They were written for one
version, and no other is started: a name may mean something else there. The environment configures
it.
"""
# ruff: noqa: ANN401 - MiniStack has no types
# ruff: noqa: SLF001 - what is mended is not public

from __future__ import annotations

import importlib
import importlib.metadata
import json
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from moorage.gateway.body import MAX_BODY_BYTES
from moorage.gateway.event import MAX_EVENT_BODY
from moorage.gateway.faults import GatewayFault
from moorage.local.children import exit_with_parent
from tests.e2e.arm64 import emulated
from tests.policies import dynamodb_context
from tests.policies.policy import RETURN_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.policies.policy import Context

VERSION: Final = "1.5.33"
"""The one version that is mended here: the one that pyproject.toml pins."""

API_IDS: Final = tuple(f"0e2e{number:04x}" for number in range(16))
"""The ids of APIs in the order of their creation: /etc/hosts has no wildcards."""

DENIED: Final = "denied:"
"""Begins the line of each denial."""

_APP: Final = "ministack.app"
_GATEWAY: Final = "ministack.services.apigateway_v1"
_RUNTIME: Final = "ministack.core.lambda_runtime"
_STACKS: Final = "ministack.services.cloudformation.provisioners"
_REST_API: Final = "AWS::ApiGateway::RestApi"
_OF_STAGES: Final = ("_stages_v1", "_deployments_v1", "_deployed_gateway_responses")
_BODY: Final = 8
"""Which argument of _invoke_lambda_proxy_v1 is the request's body."""

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL", "AWS_DISABLE_HOST_PREFIX_INJECTION")


@dataclass(frozen=True)
class Mend:
    """A name in a module of MiniStack; `made` makes what replaces it of the module and of it."""

    module: str
    name: str
    made: Callable[[Any, Any], Any]

    def apply(self) -> None:
        """Replace it; raises AttributeError if there is no such name."""
        module = importlib.import_module(self.module)
        setattr(module, self.name, self.made(module, getattr(module, self.name)))


def registry_paths(app: Any, theirs: Any) -> Any:
    """Let an API answer at /v2/: MiniStack's own ECR takes such paths at every host."""

    async def ours(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query: object
    ) -> Any:
        if app._parse_execute_api_url(headers.get("host", ""), path) is not None:
            return None
        return await theirs(method, path, headers, body, query)

    return ours


def definition(gateway: Any, theirs: Any) -> Any:
    """Read what MiniStack leaves out of an API's definition: binary types, gateway responses."""

    def ours(document: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> str:
        api_id: str = theirs(document, base)
        binary = document.get("x-amazon-apigateway-binary-media-types", [])
        gateway._rest_apis[api_id]["binaryMediaTypes"] = binary
        responses = document.get("x-amazon-apigateway-gateway-responses", {})
        for kind, response in responses.items():
            status, _, body = gateway._put_gateway_response(api_id, kind, response)
            if status != 201:
                raise ValueError(f"gateway response {kind}: {body!r}")
        return api_id

    return ours


def any_media_type(_gateway: Any, theirs: Any) -> Any:
    """Take every body for binary where the API says */*, also one without a media type."""
    return lambda media_type, binary: "*/*" in (binary or ()) or theirs(media_type, binary)


def sizes(gateway: Any, theirs: Any) -> Any:
    """Refuse bodies above API Gateway's limit, and Lambda's: MiniStack takes any."""

    async def ours(*words: Any, **named: Any) -> Any:
        length = len(words[_BODY] or b"")
        if length > MAX_BODY_BYTES:
            answer = GatewayFault.BODY_TOO_LARGE.answer()
            return answer.status, dict(answer.headers), answer.body
        if length > MAX_EVENT_BODY:
            text = GatewayFault.EVENT_TOO_LARGE.value
            return gateway._gw_error(text.response, text.message)
        return await theirs(*words, **named)

    return ours


def no_length(_app: Any, theirs: Any) -> Any:
    """Send no Content-Length with a 204 (RFC 9110, 8.6): containerd believes the 0 of a HEAD."""

    async def ours(send: Any, status: int, *words: Any, head: bool = False) -> None:
        await theirs(send, status, *words, head=head or status == 204)

    return ours


class ApiIds:
    """Gives APIs their ids; the one of an API whose definition changes is kept.

    MiniStack makes another API in the place of a changed one, at another address.
    """

    def __init__(self) -> None:
        self._fresh = iter(API_IDS)
        self._kept: str | None = None

    def given(self, _gateway: Any, _theirs: Any) -> Any:
        """Replace how the id of an API can be chosen: by a tag."""
        return lambda _tags: (self._kept or next(self._fresh), None)

    def updated(self, stacks: Any, theirs: Any) -> Any:
        """Replace how CloudFormation updates an API."""
        gateway = importlib.import_module(_GATEWAY)
        update = theirs[_REST_API]["update"]

        def ours(api_id: str, old: Any, new: Any, stack: str, logical_id: str) -> Any:
            if new.get("Body") == old.get("Body"):
                return update(api_id, old, new, stack, logical_id)
            stages = {name: getattr(gateway, name).get(api_id, {}) for name in _OF_STAGES}
            gateway._delete_rest_api(api_id)
            self._kept = api_id
            try:
                made = stacks._apigw_rest_api_create(logical_id, new, stack)
            finally:
                self._kept = None
            for name, value in stages.items():
                getattr(gateway, name)[api_id] = value
            return made

        return {**theirs, _REST_API: {**theirs[_REST_API], "update": ours}}


def imports(_stacks: Any, theirs: Any) -> Any:
    """Let CloudFormation import a bucket: MiniStack's validation says that its name is taken."""

    def ours(*words: Any, **named: Any) -> Any:
        return [each for each in theirs(*words, **named) if each[2] != "NAME_CONFLICT_VALIDATION"]

    return ours


def fine_grained(_actions: Any, theirs: Any) -> Any:
    """Tell conditions of the keys and attributes in a request to DynamoDB: MiniStack tells no keys.

    What AWS's pages leave open is told as what no condition of ours allows.
    """

    def ours(body: bytes) -> dict[str, Any]:
        told: dict[str, Any] = theirs(body)
        for context in contexts(json.loads(body or b"{}")):
            for key in context.unknown:
                told[key] = "unknown"
            for key, values in context.values:
                # A list is of a key that has many values: one that has one is a text.
                told[key] = values[0] if key == RETURN_VALUES else [*told.get(key, []), *values]
        return told

    return ours


def contexts(request: Mapping[str, Any]) -> Iterator[Context]:
    """Return what the parts of a request to DynamoDB tell; nothing for one about no items."""
    match request:
        case {"TransactItems": parts}:
            for part in parts:
                yield from map(dynamodb_context.in_a_transaction, part.values())
        case {"RequestItems": tables}:
            yield from map(dynamodb_context.in_a_batch, tables.values())
        case {"KeyConditionExpression": _}:
            yield dynamodb_context.in_a_query(request)
        case {"Item": _}:
            yield dynamodb_context.on_an_item("PutItem", request)
        case {"Key": _}:
            action = "UpdateItem" if "UpdateExpression" in request else "DeleteItem"
            yield dynamodb_context.on_an_item(action, request)


def parameter(_actions: Any, theirs: Any) -> Any:
    """Ask for rights to a parameter, and to a store of the edge, by its name.

    MiniStack asks for every parameter where one is deleted, and for every store.
    """

    def ours(service: str, *words: Any) -> str:
        _method, path, _headers, body, _query, region, account = words
        asked: str = theirs(service, *words)
        if service == "cloudfront-keyvaluestore":
            return unquote(path).removeprefix("/key-value-stores/").partition("/keys")[0]
        if service == "ssm" and asked == "*":
            names = json.loads(body or b"{}").get("Names", [])
            return (
                f"arn:aws:ssm:{region}:{account}:parameter{names[0]}" if len(names) == 1 else asked
            )
        return asked

    return ours


def denials(_evaluator: Any, theirs: Any) -> Any:
    """Say what is denied, and to whom: a function may go on without it, and nobody would notice."""

    def ours(key: str, action: str, service: str, region: str, **more: Any) -> Any:
        denied = theirs(key, action, service, region, **more)
        if denied is not None:
            who = getattr(denied, "principal_arn", None) or key
            print(f"{DENIED} {action} on {more.get('resource_arn')} to {who}", flush=True)
        return denied

    return ours


def functions(_runtime: Any, _theirs: Any) -> Any:
    """Run functions on arm64, with no other package than theirs, and let them find AWS's hosts.

    MiniStack runs them by the Python that runs itself, and gives them its own endpoint.
    """

    class Processes:
        """What MiniStack uses of the module `subprocess` to start a function."""

        PIPE = subprocess.PIPE

        @staticmethod
        def Popen(command: Sequence[str], *, env: Mapping[str, str], **options: Any) -> Any:  # noqa: N802 - the module's name for it
            plain = {name: value for name, value in env.items() if name not in _ENDPOINTS}
            return subprocess.Popen(emulated("-S", *command[1:]), env=plain, **options)

    return Processes


class Survivors:
    """Lets a function's process live when the function raises, as Lambda does.

    MiniStack ends it. The authorizer raises for each unknown token, so that the next request would
    wait for another cold start.
    """

    def __init__(self) -> None:
        self._now = threading.local()

    def signalled(self, _runtime: Any, theirs: Any) -> Any:
        """Replace how MiniStack ends a process, and how it waits for the end."""

        def ours(process: Any, *words: Any) -> None:
            if getattr(self._now, "invoking", False):
                self._now.process = process
            else:
                theirs(process, *words)

        return ours

    def invoked(self, runtime: Any, theirs: Any) -> Any:
        """Replace the class of processes by one that keeps them."""
        survivors = self

        class Worker(theirs):  # type: ignore[misc]
            """A function's process."""

            def invoke(self, *words: Any, **named: Any) -> Any:
                now = survivors._now
                now.invoking, now.process = True, None
                try:
                    result = super().invoke(*words, **named)
                finally:
                    now.invoking = False
                process = now.process
                if process is not None and "trace" in result:  # the function's own exception
                    self._proc = process
                else:
                    runtime._signal(process)
                return result

        return Worker


_IDS: Final = ApiIds()
_SURVIVORS: Final = Survivors()
MENDS: Final = (
    Mend(_APP, "_handle_ecr_registry_request", registry_paths),
    Mend(_APP, "_send_response", no_length),
    Mend(_GATEWAY, "_import_rest_api", definition),
    Mend(_GATEWAY, "_media_type_matches", any_media_type),
    Mend(_GATEWAY, "_invoke_lambda_proxy_v1", sizes),
    Mend(_GATEWAY, "_resolve_custom_rest_api_id", _IDS.given),
    Mend(_STACKS, "_RESOURCE_HANDLERS", _IDS.updated),
    Mend("ministack.services.cloudformation.stacks", "_validation_errors", imports),
    Mend("ministack.core.iam_actions", "dynamodb_service_context", fine_grained),
    Mend("ministack.core.iam_actions", "extract_resource_arn", parameter),
    Mend("ministack.core.iam_evaluator", "enforce", denials),
    Mend(_RUNTIME, "subprocess", functions),
    Mend(_RUNTIME, "_signal", _SURVIVORS.signalled),
    Mend(_RUNTIME, "_collect", _SURVIVORS.signalled),
    Mend(_RUNTIME, "Worker", _SURVIVORS.invoked),
)


def require_version(found: str) -> None:
    """Raise RuntimeError for another MiniStack than the one that is mended here."""
    if found != VERSION:
        raise RuntimeError(
            f"MiniStack is {found}, and tests/e2e mends {VERSION}: look at each mend again, then"
            " change VERSION"
        )


def main() -> None:
    """Serve until the parent ends."""
    require_version(importlib.metadata.version("ministack"))
    for mend in MENDS:
        mend.apply()
    importlib.import_module(_APP).main()


if __name__ == "__main__":
    exit_with_parent()
    main()
