"""The words of `moorage deploy` and `moorage destroy`: none is taken for another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from moorage.cli import main as cli
from moorage.deploy import destroy as deploy_destroy
from moorage.deploy import run as deploy
from moorage.deploy.texts import Deployed

if TYPE_CHECKING:
    from pathlib import Path

DEPLOY = ("deploy", "--stage", "x", "--package", "p")
DESTROY = ("destroy", "--stage", "x")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What either command was asked for; neither does anything."""
    for name in ("OBSERVABILITY", "DATA", "CONFIRM", "DEPLOY_BUCKET", "ALARM_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    options: list[Any] = []

    def deployed(wanted: deploy.DeployOptions, _: object) -> Deployed:
        options.append(wanted)
        return Deployed("https://r.example.com", "moorage-x-data", "/moorage/x/signing-key")

    def destroyed(wanted: deploy_destroy.DestroyOptions, _: object) -> str:
        options.append(wanted)
        return "gone"

    monkeypatch.setattr(deploy, "deploy", deployed)
    monkeypatch.setattr(deploy_destroy, "destroy", destroyed)
    return options


WORDS = [
    *((word, True) for word in ("1", "yes", "on", "true", "True", "YES", "On")),
    *((word, False) for word in ("0", "no", "off", "false", "none", "None", "No", "OFF", "False")),
    ("", None),
]


@pytest.mark.parametrize(("word", "meant"), WORDS)
def test_a_switch_takes_the_usual_words(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, word: str, *, meant: bool | None
) -> None:
    """In the variable, in any case: what costs is never turned on by a word for no."""
    monkeypatch.setenv("OBSERVABILITY", word)
    assert cli.main(DEPLOY) == 0
    assert asked[0].observability is meant


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["--observability"], True),
        (["--observability", "1"], True),
        (["--observability", "none"], False),
        (["--no-observability"], False),
    ],
)
def test_what_is_said_outdoes_the_variable(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, words: list[str], *, meant: bool
) -> None:
    """A switch that is said is what counts, whatever the variable has."""
    for variable in ("1", "0", "perhaps"):
        monkeypatch.setenv("OBSERVABILITY", variable)
        assert cli.main([*DEPLOY, *words]) == 0
    assert [each.observability for each in asked] == [meant] * 3


@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize(
    ("command", "option", "variable", "word"),
    [
        (DEPLOY, "--observability", "OBSERVABILITY", "perhaps"),
        (DEPLOY, "--observability", "OBSERVABILITY", "2"),
        (DESTROY, "--data", "DATA", "Delete"),
        (DESTROY, "--data", "DATA", "keep"),
        (DESTROY, "--data", "DATA", "1"),
    ],
)
def test_an_unknown_word_is_refused(  # noqa: PLR0913 - a row of a table
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    option: str,
    variable: str,
    word: str,
    *,
    said: bool,
) -> None:
    """Said or in a variable, it stops the command before anything is done."""
    if not said:
        monkeypatch.setenv(variable, word)
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, *([option, word] if said else [])])
    assert ended.value.code == 2
    assert asked == []
    assert f"argument {option}: {word!r} (said, or in ${variable}) is n" in capsys.readouterr().err


def test_data_is_deleted_by_its_word(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Said or in the variable; an empty variable is none."""
    monkeypatch.setenv("DATA", "")
    assert cli.main(DESTROY) == 0
    assert cli.main([*DESTROY, "--data", "delete"]) == 0
    monkeypatch.setenv("DATA", "delete")
    assert cli.main(DESTROY) == 0
    assert [each.data for each in asked] == [False, True, True]


def test_variables_of_one_command_are_nothing_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A word that `deploy` refuses stops no other command."""
    monkeypatch.setenv("OBSERVABILITY", "perhaps")
    monkeypatch.setenv("DATA", "perhaps")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main(["proxy", "--help"])
    assert ended.value.code == 0
