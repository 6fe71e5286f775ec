"""The diagram of a session's states in docs/durability.md, drawn from the table that runs.

`python -m tests.chalicelib.registry.upload.state_diagram` prints it. It must never know a move of
its own.
"""

from __future__ import annotations

import sys
from collections import defaultdict

from chalicelib.registry.session import TERMINAL, UploadState
from chalicelib.registry.upload.states import TABLE


def mermaid() -> str:
    """Return the diagram in Mermaid's language: one arrow for each pair of states."""
    arrows: dict[tuple[UploadState, UploadState], list[str]] = defaultdict(list)
    for (state, event), then in TABLE.items():
        arrows[state, then].append(event.value)
    lines = ["stateDiagram-v2", f"    [*] --> {UploadState.OPEN}"]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    lines += [f"    {state} --> [*]" for state in UploadState if state in TERMINAL]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(mermaid())
