"""The signing key's three steps: nobody is logged out by them, and no key is ever shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Literal

import pytest

from chalicelib.access.signing_keys import SigningKey, SigningKeySet
from chalicelib.stores.aws.ssm_keys import KEPT_SECONDS
from moorage.access import signing_key
from moorage.access.signing_key import KeyPhase, SigningKeyError, StoredKeySet
from tests.moorage.backends import ssm_of
from tests.support.moorage_command import Command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mypy_boto3_ssm.client import SSMClient

    from tests.emulators.backends import Backend

MONTH = 30 * 86400


@pytest.fixture
def ssm(strict_moto: Backend) -> SSMClient:
    """A client that looks at the parameters as they are."""
    client: SSMClient = ssm_of(strict_moto)
    return client


@pytest.fixture
def name() -> str:
    """A parameter's name that no other test has."""
    return f"/test/{uuid.uuid4().hex}"


@pytest.fixture
def at_name(
    moorage: Command, strict_moto: Backend, monkeypatch: pytest.MonkeyPatch, name: str
) -> Command:
    """The command, for this test's parameter."""
    monkeypatch.setenv("MOORAGE_SIGNING_KEY", name)
    return Command(moorage.captured, ("--aws-endpoint", strict_moto.endpoint_url))


@pytest.fixture
def value(ssm: SSMClient, name: str) -> Callable[[], str]:
    """Return what the parameter holds."""

    def read() -> str:
        parameter = ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]
        assert parameter["Type"] == "SecureString"
        return str(parameter["Value"])

    return read


def ids(text: str) -> list[str]:
    """Return the ids of the keys in a text."""
    keys = SigningKeySet.parse(text)
    return [key.id for key in (keys.signing, keys.other) if key is not None]


def test_a_key_is_stored_once(ssm: SSMClient, name: str, value: Callable[[], str]) -> None:
    """The first call stores a new secret key, and after that nothing changes it."""
    assert signing_key.ensure(ssm, name) is True
    first = value()
    assert signing_key.ensure(ssm, name) is False
    assert value() == first
    assert len(ids(first)) == 1
    assert signing_key.read(ssm, name).version == 1


# the command


def test_a_key_is_replaced_in_three_steps(at_name: Command, value: Callable[[], str]) -> None:
    """`old`, `old new`, `new old`, `new`: each step, and `key show` after it, tells the ids alone.

    What is shown is read from the parameter's history alone.
    """

    def without_times(text: str) -> list[str]:
        # When is to the minute, and the parameter's own time is a bit later than the command's.
        return re.sub(r"\d\d:\d\d UTC", "then", text).splitlines()[1:]

    held, told, phases = [], [], []
    for words in ("create", "rotate --force", "rotate --force", "rotate --force"):
        result, show = at_name(f"key {words}"), at_name("key show")
        assert (result.status, show.status) == (0, 0)
        assert without_times(show.out) == without_times(result.out)
        program = json.loads(at_name("key show --json").out)
        keys = value().split()
        assert program["verifies"] == ids(value())
        assert all(key in result.out for key in ids(value()))
        assert not any(key in f"{result}{show}{program}" for key in keys)
        held.append(ids(value()))
        told.append(result.out)
        phases.append(program["phase"])
    old, new = held[1]
    assert held == [[old], [old, new], [new, old], [new]]
    assert phases == ["steady", "begun", "swapped", "steady"]
    assert "step 1 of 3" in told[1]
    assert "step 2 of 3" in told[2]
    assert "no replacement is under way" in told[3]


def test_a_step_too_early_changes_nothing(at_name: Command, value: Callable[[], str]) -> None:
    """So does creating a key that exists. The error says when the step is possible."""
    at_name("key create")
    before = value()
    result = at_name("key create")
    assert (result.status, result.out) == (1, "")
    assert "is there already" in result.err
    assert value() == before
    assert at_name("key rotate").status == 0
    before = value()
    result = at_name("key rotate")
    assert result.status == 1
    assert re.search(r"can be taken from \d{4}-\d\d-\d\d \d\d:\d\d UTC on", result.err)
    assert value() == before


@pytest.mark.parametrize("words", ["key show", "key rotate"])
def test_a_missing_parameter_is_named(at_name: Command, words: str, name: str) -> None:
    """The error has the command that creates one."""
    result = at_name(words)
    assert (result.status, result.out) == (1, "")
    assert re.search(rf"{name}.*moorage key create", result.err)


@pytest.mark.parametrize(
    ("kind", "text", "told"),
    [
        ("String", SigningKey(bytes(32)).text(), "is a String, in the clear"),
        ("SecureString", "secret-of-somebody-else", "holds no signing keys"),
    ],
    ids=["in-the-clear", "no-key"],
)
def test_a_parameter_without_signing_keys_is_an_error(  # noqa: PLR0913 - fixtures, and a row of the table
    at_name: Command,
    ssm: SSMClient,
    name: str,
    kind: Literal["String", "SecureString"],
    text: str,
    told: str,
) -> None:
    """The error does not quote it, and the parameter stays as it is."""
    ssm.put_parameter(Name=name, Value=text, Type=kind)
    for words in ("key show", "key rotate --force"):
        result = at_name(words)
        assert result.status == 1
        assert told in result.err
        assert text not in result.err + result.out
    assert ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"] == text


def test_a_log_at_debug_has_no_key(
    strict_moto: Backend, name: str, value: Callable[[], str], tmp_path: Path
) -> None:
    """The SDK, which logs everything that it sends, is silenced."""
    words = f"key create --signing-key {name} --aws-endpoint {strict_moto.endpoint_url}"
    done = subprocess.run(
        [sys.executable, "-m", "moorage", *words.split(), "--log-level", "debug"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert value() not in done.stdout + done.stderr


# the steps


def stored(ssm: SSMClient, name: str, steps: int) -> StoredKeySet:
    """Make a key and take some steps, each at its time; return what is then stored."""
    current = signing_key.create(ssm, name, time.time())
    for _ in range(steps):
        current = signing_key.rotate(ssm, current, current.next_at)
    return current


@pytest.mark.parametrize(
    ("steps", "phase", "wait"),
    [
        (0, KeyPhase.STEADY, 0),
        (1, KeyPhase.BEGUN, 300),
        (2, KeyPhase.SWAPPED, 300 + MONTH),
        # Keys of earlier replacements don't confuse the reading of the history.
        (4, KeyPhase.BEGUN, 300),
    ],
    ids=["steady", "begun", "swapped", "begun-again"],
)
def test_a_step_waits_for_all_functions_and_for_old_tokens(  # noqa: PLR0913 - fixtures, and a row of the table
    ssm: SSMClient,
    name: str,
    value: Callable[[], str],
    steps: int,
    phase: KeyPhase,
    wait: int,
) -> None:
    """All must know the last step, and tokens of the old key must have expired.

    What is read says its state when it is printed, and no key.
    """
    current = stored(ssm, name, steps)
    assert not any(word in repr(current) for word in value().split())
    assert (current.phase, current.next_at - current.changed_at) == (phase, wait)
    read = signing_key.read(ssm, name)
    assert (read.phase, read.keys, read.version) == (phase, current.keys, steps + 1)
    if wait:
        with pytest.raises(SigningKeyError):
            signing_key.rotate(ssm, current, current.next_at - 0.1)
    assert signing_key.rotate(ssm, current, current.next_at).version == steps + 2


def test_the_wait_is_as_long_as_the_functions_keep_a_key() -> None:
    """The wait and the functions use the same time."""
    assert signing_key.KEY_CACHE >= KEPT_SECONDS


def test_the_second_of_two_rotations_at_once_is_refused(ssm: SSMClient, name: str) -> None:
    """It has read the keys of before; the error says to look again."""
    before = stored(ssm, name, 0)
    signing_key.rotate(ssm, before, before.next_at)
    with pytest.raises(SigningKeyError, match="somebody else"):
        signing_key.rotate(ssm, before, before.next_at)


def test_rotating_keeps_the_kms_key(ssm: SSMClient, name: str) -> None:
    """Each step keeps the KMS key of the parameter."""
    signing_key.create(ssm, name, time.time(), "alias/ours")
    for _ in range(3):
        signing_key.rotate(ssm, signing_key.read(ssm, name), 0, force=True)
    history = ssm.get_parameter_history(Name=name)["Parameters"]
    assert {version["KeyId"] for version in history} == {"alias/ours"}
    assert len(history) == 4
