"""The state table: every state with every event, and the copy of it in the docs."""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import pytest

from chalicelib.registry.session import TERMINAL, UploadState
from chalicelib.registry.upload.states import TABLE, Event, IllegalMoveError, after
from moorage.common.project import PROJECT

DOCS = PROJECT / "docs"


def mermaid() -> str:
    """Draw the table in Mermaid's language: one arrow for each pair of states."""
    arrows: dict[tuple[UploadState, UploadState], list[str]] = defaultdict(list)
    for (state, event), then in TABLE.items():
        arrows[state, then].append(event.value)
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in (UploadState.UNBEGUN, UploadState.DIRECT)]
    lines += [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    lines += [f"    {state} --> [*]" for state in UploadState if state in TERMINAL]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("state", "event"), list(product(UploadState, Event)))
def test_only_moves_in_the_table_are_made(state: UploadState, event: Event) -> None:
    """A move in the table leads where it says; any other raises, and an ended session has none."""
    if (state, event) in TABLE:
        assert state not in TERMINAL
        assert after(state, event) is TABLE[state, event]
    else:
        with pytest.raises(IllegalMoveError):
            after(state, event)


def test_every_state_can_end() -> None:
    """From every state some way leads to a terminal one."""
    for state in UploadState:
        reached = {state}
        while new := {t for (s, _), t in TABLE.items() if s in reached} - reached:
            reached |= new
        assert reached & TERMINAL


def test_the_docs_show_this_table() -> None:
    """docs/uploads.md holds exactly the rows of the table."""
    rows = "\n".join(f"| {s} | {e} | {t} |" for (s, e), t in TABLE.items())
    table = f"| state | event | next |\n|---|---|---|\n{rows}\n"
    shown = (DOCS / "uploads.md").read_text().split("<!-- transitions: begin -->\n")[1]
    assert shown.split("<!-- transitions: end -->")[0] == table


def test_the_docs_draw_this_table() -> None:
    """docs/durability.md shows the diagram that the table makes."""
    shown = (DOCS / "durability.md").read_text().split("<!-- diagram: begin -->\n")[1]
    expected = f"```mermaid\n{mermaid()}```\n"
    assert shown.split("<!-- diagram: end -->")[0] == expected
