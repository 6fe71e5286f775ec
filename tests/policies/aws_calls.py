"""Every call that this process makes to AWS by botocore, with who makes it; and a watch on them.

The watch looks on at the whole suite. A function's stores are called in many tests, by whatever
process runs them and in any order, and each of these calls has to be one that some function may
make: one that none may is told at once, and the test that made it fails. Which function may is what
tests/policies/test_least_privilege.py asks, where it is known which one runs; here the functions
share their rights. Calls of child processes are not seen. Nothing here may change a call.
"""

from __future__ import annotations

import enum
import os
import re
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore.client import BaseClient

from chalicelib import stores
from moorage.deploy.trim_sdk import OPERATIONS
from tests.policies.function_policies import (
    COMMIT_FUNCTION,
    SIGNING_KEY,
    DeployedNames,
    Function,
    policy,
)
from tests.policies.iam_actions import (
    Need,
    UnmappedCallError,
    function_arn,
    needs,
    parameter_arn,
    presigned_needs,
)
from tests.policies.policy import Policy, UnsupportedPolicyError, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

_STORES = str(Path(stores.__file__).parent) + os.sep
_ACCESS_STORE = f"{_STORES}dynamodb{os.sep}access.py"

OWNERS_METHODS = frozenset(
    {
        "create",
        "rotate",
        "revoke",
        "regrant",
        "list_credentials",
        "put_trust",
        "delete_trust",
        "set_public",
        "list_public",
        "move",
    }
)
"""What of the access store is called by the commands of whoever owns it, with their own rights.

No function may call these: the replay says so of each flow.
"""


class Origin(enum.Enum):
    """Who makes a call."""

    FUNCTION = "what runs in Lambda"
    OWNER = "what only an owner's command runs"
    TEST = "a test, or its machinery"


@dataclass(frozen=True, slots=True)
class AwsCall:
    """One call. `presigned`: none is made, but a URL given with which somebody can."""

    service: str
    operation: str
    parameters: Mapping[str, Any]
    caller: Origin
    presigned: bool = False

    def needs(self) -> frozenset[Need]:
        """Return the permissions that it needs; raises UnmappedCallError."""
        looked_up = presigned_needs if self.presigned else needs
        return looked_up(self.service, self.operation, self.parameters)


@contextmanager
def each_call(note: Callable[[AwsCall], None]) -> Iterator[None]:
    """Give every call of this process to `note` until the block ends, just before it is made."""
    # Events reach only clients that are made later, and tests share clients. All calls, and URLs
    # that are signed, go through this method; it has no public name.
    emit = BaseClient._emit_api_params  # type: ignore[attr-defined]  # noqa: SLF001 - as said

    def noted(self: BaseClient, api_params: Any, operation_model: Any, context: Any) -> Any:  # noqa: ANN401 - botocore's own
        note(
            AwsCall(
                operation_model.service_model.service_name,
                operation_model.name,
                dict(api_params),
                _caller(),
                presigned=context.get("is_presign_request", False),
            )
        )
        return emit(self, api_params, operation_model, context)

    with mock.patch.object(BaseClient, "_emit_api_params", noted):
        yield


def _caller() -> Origin:
    """Find out by the stack: a function's calls are made by its stores, or by its wiring."""
    caller = Origin.TEST
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - there is no other way to look
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_STORES):
            caller = Origin.FUNCTION
            if code.co_filename == _ACCESS_STORE and code.co_name in OWNERS_METHODS:
                return Origin.OWNER
        frame = frame.f_back
    return caller


_NAMES = DeployedNames("test-x", "test-x-registry", "test-x-uploads", "test-x-access")
_FOR_A_NAME = re.compile("(test|drill)-[0-9a-f]{12}|moorage-x-data")
_NAMED_AT_WILL = {"ssm": parameter_arn(SIGNING_KEY), "lambda": function_arn(COMMIT_FUNCTION)}
"""The things of which a deployment has one, whatever a test calls it."""


def may_any_function(need: Need) -> bool:
    """Whether a function has a permission, over things with names as backends of tests have them.

    Those: tests/emulators/backends.py, tests/drills/support/worlds.py, moorage/deploy. Raises
    UnsupportedPolicyError if a condition can't be evaluated.
    """
    resource = _NAMED_AT_WILL.get(need.action.partition(":")[0])
    if resource is None:
        resource = _FOR_A_NAME.sub("test-x", need.resource)
    decisions = [
        each.decide(need.action, resource, need.context)
        for each in _policies_about(need.action, resource)
    ]
    return Verdict.ALLOWED in decisions


@lru_cache(maxsize=4096)
def _policies_about(action: str, resource: str) -> tuple[Policy, ...]:
    return tuple(policy(function, _NAMES).about(action, resource) for function in Function)


@dataclass
class Watch:
    """Looks at every call that what runs in Lambda makes, whatever test it is that runs it."""

    faults: list[str] = field(default_factory=list)
    looked_at: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Look on until the block ends."""
        with each_call(self.look):
            yield

    def look(self, call: AwsCall) -> None:
        """Keep what is wrong with a call, if something is: whoever made it could swallow it."""
        if call.caller is not Origin.FUNCTION:
            return
        try:
            missing = sorted(need for need in call.needs() if not may_any_function(need))
        except (UnmappedCallError, UnsupportedPolicyError) as error:
            self._keep(call, str(error))
        else:
            for need in missing:
                self._keep(call, f"no function has {need}")
        if call.operation not in OPERATIONS.get(call.service, ()):
            self._keep(call, "the packaged SDK lacks it: moorage/deploy/trim_sdk.py")
        with self._lock:
            self.looked_at += 1

    def check(self) -> None:
        """Raise AssertionError for what was wrong since the last time."""
        with self._lock:
            faults, self.faults = self.faults, []
        assert not faults, "\n".join(dict.fromkeys(faults))

    def _keep(self, call: AwsCall, text: str) -> None:
        at = os.environ.get("PYTEST_CURRENT_TEST", "no test")
        with self._lock:
            self.faults.append(f"{call.service}:{call.operation} in {at}: {text}")
