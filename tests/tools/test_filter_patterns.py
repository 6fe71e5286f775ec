"""The evaluator of filter patterns: what AWS's guide says of them, and nothing else is taken."""

from __future__ import annotations

import json

import pytest

from tests.infra.filter_patterns import PatternError, matches

LINE = json.dumps(
    {"action": "commit", "status": 503, "milliseconds": 1.5, "error": None, "cold_start": True}
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.action = "commit" }', True),
        ('{$.action="commit"}', True),
        ('{ $.action = "commi" }', False),
        ('{ $.action = "Commit" }', False),
        ("{ $.status = 503 }", True),
        ("{ $.status = 50 }", False),
        ("{ $.status > 502 }", True),
        ("{ $.status > 503 }", False),
        ("{ $.status >= 503 }", True),
        ("{ $.status >= 504 }", False),
        ("{ $.milliseconds >= 1 }", True),
        # What isn't there, or is of another kind, is no match.
        ("{ $.stat >= 1 }", False),
        ("{ $.error >= 0 }", False),
        ('{ $.error = "None" }', False),
        ("{ $.cold_start = 1 }", False),
        ("{ $.action = 503 }", False),
        ('{ $.status = "503" }', False),
        # Both, either, and which of them is first.
        ('{ $.action = "commit" && $.status = 503 }', True),
        ('{ $.action = "commit" && $.status = 404 }', False),
        ('{ $.action = "sweep" || $.status = 503 }', True),
        ('{ $.action = "sweep" || $.status = 404 }', False),
        # && binds more than ||, and parentheses more than either.
        ('{ $.status = 503 || $.action = "sweep" && $.status = 404 }', True),
        ('{ ($.status = 503 || $.action = "sweep") && $.status = 404 }', False),
        ('{ $.action = "sweep" && $.status = 404 || $.status = 503 }', True),
        ('{ $.action = "sweep" && ($.status = 404 || $.status = 503) }', False),
        ('{ $.status = 1 || $.status = 2 || ($.action = "commit" && ($.status > 1)) }', True),
    ],
)
def test_names_texts_and_numbers_are_compared_as_written(pattern: str, *, expected: bool) -> None:
    """Otherwise there is no match."""
    assert matches(pattern, LINE) is expected


@pytest.mark.parametrize("event", ["", "commit 503", "[503]", "503", '{"status": 503', "null"])
def test_a_comparison_is_of_a_json_object(event: str) -> None:
    """Whatever else a function prints is no match."""
    assert not matches("{ $.status = 503 }", event)


def test_a_phrase_stands_anywhere() -> None:
    """In a line of text as in one of several lines, with its case and its brackets."""
    event = "[ERROR] Exception: Unauthorized\nTraceback (most recent call last):"
    assert matches('"[ERROR] Exception: Unauthorized"', event)
    assert matches('"Traceback"', event)
    assert not matches('"[error] Exception: Unauthorized"', event)
    assert not matches('"[ERROR] KeyError"', event)


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "ERROR",
        "?ERROR ?WARN",
        '"ERROR" -"Exiting"',
        '""',
        "[ip, user, ...]",
        "%ERROR%",
        "{}",
        "{ }",
        "{ $.status }",
        "{ $.status = }",
        "{ $.status = 503",
        "{ $.status = 503 } }",
        "{ ($.status = 503 }",
        "{ $.status = 503) }",
        "{ $.status = 503 && }",
        "{ $.status = 503 $.status = 503 }",
        "{ && $.status = 503 }",
        "{ status = 503 }",
        "{ $.swept.failed = 1 }",
        "{ $.tags[0] = 1 }",
        "{ $.status != 503 }",
        "{ $.status < 503 }",
        "{ $.status <= 503 }",
        "{ $.status >= 5e2 }",
        "{ $.status >= 503.5 }",
        "{ $.status >= -1 }",
        "{ $.status = 5* }",
        "{ $.action = commit }",
        '{ $.action = "com*" }',
        '{ $.action >= "commit" }',
        "{ $.error IS NULL }",
        "{ $.error NOT EXISTS }",
        "{ $.status = 503 & $.status = 503 }",
        "{ $.status = 503 AND $.status = 503 }",
    ],
)
def test_an_unused_form_of_pattern_is_refused(pattern: str) -> None:
    """Although CloudWatch accepts some of them."""
    with pytest.raises(PatternError):
        matches(pattern, LINE)
