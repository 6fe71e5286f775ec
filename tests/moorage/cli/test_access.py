"""What the commands that manage access refuse to be asked, and what AWS refuses them."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest

from moorage.common.data import DataNames
from moorage.local.backend import create_data
from tests.support.fake_http import FakeRequest, run_fake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.emulators.backends import Backend
    from tests.support.moorage_command import Command

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def settings(moorage: Command, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Credentials and a region, as a user has them."""
    del moorage
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-user")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "eu-central-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return monkeypatch


@contextmanager
def answering(status: int, answer: dict[str, object]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Run an endpoint of AWS that always answers that; give its URL and the headers it gets."""
    seen: list[dict[str, str]] = []

    def respond(asked: FakeRequest) -> None:
        asked.body()
        seen.append(dict(asked.headers))
        asked.answer(status, json.dumps(answer).encode())

    with run_fake(respond) as url:
        yield url, seen


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("token create n --grant team/**", "'team/**' is no grant"),
        ("token create n --grant team/**:read", "is no grant"),
        ("token create n --grant TEAM:pull", "is no pattern of repository names"),
        ("token create Name --admin", "can't name an"),
        ("token create n --admin --expires 90", "is no time"),
        ("token create n --admin --expires 0", "over at once"),
        ("token create n --admin --expires 0d", "over at once"),
        ("token create n", "it could do nothing"),
        ("token create n --admin --owner \x1b", "--owner"),
        ("token rotate n --grace never", "is no time"),
        ("grant n", "--grant or --admin"),
        ("grant n --grant a:pull --add a:push", "--grant or --admin"),
        ("public Team", "not a repository name"),
        ("public", "Give one of '[REPOSITORY]', '--list'"),
        ("public a --list", "'[REPOSITORY]' and '--list' don't go together"),
        ("public a --json", "--json is for --list"),
        ("public --list --off", "--off needs a repository"),
        ("trust add n --issuer aws --subject * --grant a:pull", "names nobody"),
        ("trust add n --issuer https://x --audience y --subject s", "without grants"),
        ("trust add n --issuer http://x --audience y --subject s --admin", "without TLS"),
        ("token list --aws-endpoint nowhere", "is no URL"),
        ("trust add n --issuer aws --grant a:pull", "Missing option '--subject'"),
    ],
)
def test_a_usage_error_is_status_2_without_a_call_to_aws(
    moorage: Command, words: str, told: str
) -> None:
    """The error says what is possible."""
    result = moorage(words)
    assert (result.status, result.out) == (2, "")
    assert told in result.err


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AccessDeniedException", "AWS denies Query: ask who manages the account (of AWS)"),
        ("ExpiredTokenException", "log in to AWS again (ExpiredTokenException: of AWS)"),
        ("UnrecognizedClientException", "AWS refuses these credentials"),
        ("ResourceNotFoundException", "there is no table registry-access: name it by --table"),
        ("ThrottlingException", "AWS asks to slow down"),
        ("Strange", "AWS answers Query with Strange: of AWS"),
    ],
)
def test_what_aws_refuses_is_one_line(moorage: Command, code: str, told: str) -> None:
    """The line says what to do, and the status is 1."""
    with answering(400, {"__type": f"com.amazonaws#{code}", "message": "of\nAWS"}) as (url, _):
        result = moorage(f"token list --table registry-access --aws-endpoint {url}")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("moorage token list: ")
    assert result.err.count("\n") == 1
    assert told in result.err


@pytest.mark.usefixtures("no_waits")
@pytest.mark.parametrize("words", ["token list", "key show", "public --list"])
def test_an_unreachable_endpoint_is_named(moorage: Command, words: str) -> None:
    """An endpoint that nobody answers at is named."""
    result = moorage(f"{words} --aws-endpoint {NOWHERE}")
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith(f"moorage {words.removesuffix(' --list')}: AWS does not answer")
    assert NOWHERE in result.err


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("AWS_DEFAULT_REGION=x", r"no AWS credentials: log in to AWS.*--aws-endpoint.*"),
        ("OTHER=x", "no AWS region: set AWS_REGION, or a profile that has one"),
        ("AWS_PROFILE=nobody", r".*\(nobody\).*AWS_PROFILE.*"),
    ],
)
def test_missing_aws_settings_are_named(
    moorage: Command, monkeypatch: pytest.MonkeyPatch, variable: str, told: str
) -> None:
    """Credentials, region and profile, in one line with how to set them."""
    monkeypatch.setenv(*variable.split("="))
    for command in ("key show", "token list"):
        result = moorage(command)
        assert result.status == 1
        assert re.fullmatch(rf"moorage {command}: {told}\n", result.err)


def test_an_endpoint_given_by_hand_gets_nothing_of_the_users(
    moorage: Command, settings: pytest.MonkeyPatch
) -> None:
    """Neither credentials, region nor a broken profile of the user's reach an emulator."""
    settings.setenv("AWS_SESSION_TOKEN", "session-of-the-user")
    settings.setenv("AWS_PROFILE", "nobody")
    with answering(200, {"Items": []}) as (url, seen):
        moorage(f"token list --aws-endpoint {url}")
    assert seen
    assert not any("of-the-user" in str(headers) or "eu-" in str(headers) for headers in seen)


def test_the_environment_names_the_table(
    moorage: Command, strict_moto: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$MOORAGE_ACCESS_TABLE is the default of --table, and an empty one is none.

    With an endpoint alone, the table is the one that `moorage local` makes.
    """
    backend = strict_moto.fresh()
    monkeypatch.setenv("MOORAGE_ACCESS_TABLE", backend.access_table)
    at = f"--aws-endpoint {backend.endpoint_url}"
    assert moorage(f"public named/app {at}").status == 0
    assert moorage(f"public --list {at}").out == "named/app\n"
    assert moorage(f"public --list --json {at}").out == '[\n  "named/app"\n]\n'
    monkeypatch.setenv("MOORAGE_ACCESS_TABLE", "")
    create_data(backend.endpoint_url, DataNames(), backend.environment)
    local = moorage(f"public --list {at}")
    assert (local.status, "named/app" in local.out) == (0, False)
    assert moorage(f"public local/app {at}").status == 0
    found = moorage(f"public --list {at} --table {DataNames().access_table}")
    assert "local/app\n" in found.out


def test_the_data_stack_names_the_table(
    moorage: Command, strict_moto: Backend, settings: pytest.MonkeyPatch
) -> None:
    """Without a table it is the one that the stack exports; without that, the export is named."""
    settings.setenv("AWS_ENDPOINT_URL", strict_moto.endpoint_url)
    names = DataNames(access_table="exported-access")
    environment = strict_moto.environment | {"AWS_REGION": "eu-central-1"}
    create_data(strict_moto.endpoint_url, names, environment)
    assert "no export moorage-data-AccessTableName in eu-central-1" in moorage("token list").err
    export = {"Value": names.access_table, "Export": {"Name": "mine-AccessTableName"}}
    handle = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    boto3.session.Session().client("cloudformation").create_stack(
        StackName="mine",
        TemplateBody=json.dumps({"Resources": {"Handle": handle}, "Outputs": {"Table": export}}),
    )
    assert moorage("public exported/app --stack mine").status == 0
    assert moorage("public --list --table exported-access").out == "exported/app\n"
