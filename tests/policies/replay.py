"""What the functions ask of AWS in a replay, with which function asked it, and in which flow.

One function runs at a time, so that its threads need not be told apart. Nothing here may count a
call that a test makes to arrange things.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.policies.aws_calls import AwsCall, Origin, each_call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chalicelib.api.routes import Route
    from tests.policies.function_policies import DeployedNames, Function
    from tests.policies.iam_actions import Need


@dataclass(frozen=True, order=True)
class StatementUse:
    """A permission that a function needed in a flow."""

    function: Function
    need: Need
    flow: str


@dataclass
class Replay:
    """All that was needed, over things of these names."""

    names: DeployedNames
    uses: set[StatementUse] = field(default_factory=set)
    routes: list[Route] = field(default_factory=list)
    """The rows of the table of routes that were asked."""
    operations: set[tuple[str, str]] = field(default_factory=set)
    """What was called, by service."""
    faults: list[str] = field(default_factory=list)
    _flow: str = ""
    _function: Function | None = None

    @contextmanager
    def flow(self, name: str) -> Iterator[None]:
        """Note every call until the block ends as one of this flow."""
        self._flow = name
        with each_call(self._note):
            yield

    @contextmanager
    def running(self, function: Function) -> Iterator[None]:
        """Take every call until the block ends for one of this function."""
        assert self._function is None, "one function runs at a time"
        self._function = function
        try:
            yield
        finally:
            self._function = None

    def of(self, function: Function) -> set[Need]:
        """Return what a function needed."""
        return {use.need for use in self.uses if use.function is function}

    def _note(self, call: AwsCall) -> None:
        if self._function is None:
            return
        if call.caller is not Origin.FUNCTION:
            told = f"{self._flow}: {call.caller.value} calls {call.service}:{call.operation}"
            self.faults.append(f"{told} while the function {self._function} runs")
        self.operations.add((call.service, call.operation))
        # An operation that is not mapped is raised where it is called, and told by the watch.
        self.uses |= {StatementUse(self._function, need, self._flow) for need in call.needs()}
