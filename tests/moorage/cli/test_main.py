"""The `moorage` command: its options, defaults, variables, help, errors and exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from moorage.cli import main as cli
from moorage.cli.options import read_text
from moorage.gateway import server as gateway
from moorage.gateway.response import HeadMode
from moorage.local import run as local
from moorage.local.options import LocalOptions

if TYPE_CHECKING:
    from tests.support.moorage_command import Command

DEPLOY = "deploy --stage x --package p"
SDK = frozenset({"aiohttp", "boto3", "botocore", "chalice", "cryptography", "moto", "yaml"})


@pytest.fixture
def asked(moorage: Command, monkeypatch: pytest.MonkeyPatch) -> list[LocalOptions]:
    """What `moorage local` was asked for; it does nothing."""
    del moorage
    calls: list[LocalOptions] = []

    def run(options: LocalOptions) -> int:
        calls.append(options)
        return 7

    monkeypatch.setattr(local, "run", run)
    return calls


@pytest.mark.parametrize(
    ("variables", "words", "expected"),
    [
        # `moorage local` alone means moto, and the ports 8000 and 5000.
        ("", "", LocalOptions(gateway_port=8000, proxy_port=5000)),
        ("EDGE_PORT=5003", "", LocalOptions(edge_port=5003)),
        ("GATEWAY_PORT=8001 PROXY_PORT=5001", "--proxy-port 5002", LocalOptions(8001, 5002)),
        ("GATEWAY_PORT= PROXY_PORT=", "", LocalOptions()),
        *[(f"AUTH={word}", "", LocalOptions(auth=True)) for word in ("1", "yes", "anything", "No")],
        *[(f"AUTH={word}", "", LocalOptions()) for word in ("0", "no", "off", "false", "")],
        ("AUTH=0", "--auth", LocalOptions(auth=True)),
        ("AUTH=1", "--no-auth", LocalOptions()),
        ("ALLOW_HOST=A.lan", "", LocalOptions(allow_hosts=("a.lan",))),
        ("ALLOW_HOST=", "", LocalOptions()),
        ("ADMIN_TOKEN_FILE=token", "", LocalOptions(admin_token_file=Path("token"))),
        ("ADMIN_TOKEN_FILE=", "", LocalOptions()),
        ("ADMIN_TOKEN_FILE=x", "--admin-token-file y", LocalOptions(admin_token_file=Path("y"))),
    ],
)
def test_environment_variables_set_the_defaults_of_options(
    asked: list[LocalOptions],
    monkeypatch: pytest.MonkeyPatch,
    variables: str,
    words: str,
    expected: LocalOptions,
) -> None:
    """An option overrides its variable; an empty one counts as absent.

    The command ends with the status of what it runs.
    """
    for variable in variables.split():
        monkeypatch.setenv(*variable.split("="))
    assert cli.main(["local", *words.split()]) == 7
    assert asked == [expected]


def test_every_option_of_local_sets_its_field(asked: list[LocalOptions], tmp_path: Path) -> None:
    """Each option sets the field of its name."""
    words = (
        "local --gateway-port 1 --proxy-port 0 --edge-port 2 --aws-endpoint http://x "
        f"--head-mode zero --inline-limit 0 --ready-file {tmp_path} --log-level debug --auth "
        f"--admin-token-file {tmp_path}/token --allow-host A.lan:5000 --allow-host *"
        " --grace 5 --no-gc"
    )
    cli.main(words.split())
    token = tmp_path / "token"
    hosts = ("a.lan", "*")
    expected = LocalOptions(
        1,
        0,
        2,
        "http://x",
        "zero",
        0,
        tmp_path,
        "debug",
        auth=True,
        admin_token_file=token,
        allow_hosts=hosts,
        grace=5,
        collect=False,
    )
    assert asked == [expected]


def test_every_option_of_the_gateway_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default of the timeout is AWS's."""
    asked: list[gateway.GatewayOptions] = []

    async def serve(options: gateway.GatewayOptions) -> None:
        asked.append(options)

    monkeypatch.setattr(gateway, "serve", serve)
    words = (
        "gateway --host ::1 --port 1 --head-mode zero --threads 2 --no-queue --timeout 0.5"
        " --allow-host a --every 5"
    )
    assert (cli.main(["gateway"]), cli.main(words.split())) == (0, 0)
    assert asked == [
        gateway.GatewayOptions(timeout_seconds=29),
        gateway.GatewayOptions(
            "::1",
            1,
            HeadMode.ZERO,
            2,
            queue=False,
            timeout_seconds=0.5,
            allow_hosts=("a",),
            every_seconds=5,
        ),
    ]


@pytest.mark.parametrize(
    ("words", "command", "told"),
    [
        ("tokn", "moorage", "Did you mean 'token'?"),
        ("local --gateway-prt 1", "moorage local", "Did you mean '--gateway-port'?"),
        ("local --gateway-port 65536", "moorage local", "'65536' is no number from 0 to 65535"),
        ("local --proxy-port -1", "moorage local", "'-1' is no number from 0 to 65535"),
        ("local --allow-host a/b", "moorage local", "'a/b' is no name of a host"),
        ("local --head-mode other", "moorage local", "'other' is not one of 'body', 'zero'"),
        ("local --inline-limit few", "moorage local", "'few' is no number from 0 on"),
        ("proxy", "moorage proxy", "Missing option '--upstream'"),
        ("edge", "moorage edge", "Missing option '--upstream'"),
        ("proxy --upstream", "moorage proxy", "'--upstream' requires an argument"),
        ("gateway --threads 0", "moorage gateway", "'0' is no number from 1 on"),
        ("gateway --timeout 0", "moorage gateway", "'0' is no number of seconds above 0"),
        ("gateway --timeout nan", "moorage gateway", "'nan' is no number of seconds above 0"),
        ("proxy --upstream http://x --patience soon", "moorage proxy", "'soon' is no number"),
        ("proxy --upstream http://x --chunk-size -1", "moorage proxy", "'-1' is no number"),
        ("login r", "moorage login", "Give one of '--aws', '--oidc'"),
        ("login r --aws --oidc", "moorage login", "'--aws' and '--oidc' don't go together"),
        ("login r --aws --scope a", "moorage login", "--scope is for --print"),
        (f"{DEPLOY} --observability --no-observability", "moorage deploy", "don't go together"),
        ("login r --aws --print --tool docker", "moorage login", "don't go together"),
        ("login r --aws --tool nerdctl", "moorage login", "'nerdctl' is not one of"),
        ("login r --oidc --password secret", "moorage login", "No such option"),
    ],
)
def test_a_usage_error_is_two_lines_and_status_2(
    moorage: Command, words: str, command: str, told: str
) -> None:
    """On stderr: what is wrong, and where to look."""
    result = moorage(words)
    problem, hint = result.err.splitlines()
    assert (result.status, result.out) == (2, "")
    assert problem.startswith(f"{command}: ")
    assert told in problem
    assert hint == f"see `{command} --help`"


def test_an_upstream_without_tls_is_refused_in_one_line(moorage: Command) -> None:
    """The proxy doesn't start."""
    result = moorage("proxy --port 0 --upstream http://registry.example.com")
    assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
    assert "has no TLS" in result.err


def test_a_wrong_variable_is_named(moorage: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused like a wrong option."""
    monkeypatch.setenv("PROXY_PORT", "http")
    assert "(env var: 'PROXY_PORT'): 'http' is no number from 0" in moorage("local").err


@pytest.mark.parametrize("words", ["", "token"])
def test_a_command_that_is_not_named_is_status_2(moorage: Command, words: str) -> None:
    """The help is shown, on stderr."""
    result = moorage(words)
    assert (result.status, result.out) == (2, "")
    assert "Usage: moorage " in result.err


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [(OSError("no room"), 1, "no room"), (KeyboardInterrupt(), 130, "stopped")],
)
def test_an_error_is_one_line(
    moorage: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, told: str
) -> None:
    """An error of the operating system is status 1, Ctrl-C is 130."""

    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(local, "run", fail)
    result = moorage("local")
    assert (result.status, result.err) == (status, f"moorage local: {told}\n")


@pytest.mark.parametrize(
    "words",
    [
        "rules set --check",
        "retention set --check",
        "retention preview --rules",
        "retention protect --from file --name x",
        "retention protect --from k8s --name x",
        "gc --only",
    ],
)
def test_a_file_that_is_not_utf_8_is_an_error_that_names_it(
    moorage: Command, tmp_path: Path, words: str
) -> None:
    """Some shells write UTF-16 by `>`. A byte order mark before UTF-8 is no fault."""
    file = tmp_path / "given"
    file.write_bytes("{".encode("utf-16"))
    told = moorage(f"{words} {file} --aws-endpoint http://127.0.0.1:1")
    assert (told.status, f"{file} is not UTF-8" in told.err) == (2, True)
    file.write_bytes(b"\xef\xbb\xbftext")
    assert read_text(file) == "text"


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize(
    "command", ["", "local", "gateway", "proxy", "edge", "token create", "deploy"]
)
def test_every_command_prints_help(moorage: Command, command: str, flag: str) -> None:
    """Every command explains itself, and hides what is only for children."""
    result = moorage(f"{command} {flag}")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(f"Usage: moorage {command}".strip())
    assert "--stop-with-input" not in result.out


def test_help_has_every_command_in_a_section(moorage: Command) -> None:
    """The commands are grouped by what they are for."""
    lines = moorage("--help").out.partition("Serve:")[2].splitlines()
    assert [line.split()[0] for line in lines if line and not line.startswith("   ")] == [
        *("local", "gateway", "proxy", "edge"),
        *("Move", "push", "pull", "copy"),
        *("Look", "repo", "retention", "usage", "gc"),
        *("Log", "login", "doctor"),
        *("Manage", "token", "grant", "public", "trust", "key"),
        *("Manage", "rules"),
        *("Deploy", "deploy", "destroy"),
    ]


@pytest.mark.parametrize("group", ["repo", "retention", "token", "rules"])
def test_the_help_of_a_group_has_whole_sentences(moorage: Command, group: str) -> None:
    """Not the beginnings of them."""
    shown = moorage(f"{group} --help").out.partition("Commands:")[2]
    assert shown.count(".\n") >= 2
    assert "..." not in shown


def test_the_help_has_each_form_of_a_place_on_its_own_line(moorage: Command) -> None:
    """Unbroken, to be copied."""
    forms = moorage("push --help").out.partition("SOURCE is one of\n")[2].splitlines()[:5]
    assert [form.split(":")[0].strip() for form in forms] == [
        *("oci", "oci-archive", "docker-archive", "docker-archive", "docker-daemon")
    ]


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("moorage to", {"token"}),
        ("moorage d", {"doctor", "deploy", "destroy"}),
        ("moorage token r", {"revoke", "rotate"}),
        ("moorage local --head-mode ", {"body", "zero"}),
        ("moorage local --gateway", {"--gateway-port"}),
    ],
)
def test_a_shell_completes_commands_and_options(
    moorage: Command, monkeypatch: pytest.MonkeyPatch, typed: str, completed: set[str]
) -> None:
    """As the script asks for it that `--show-completion` prints."""
    assert "_MOORAGE_COMPLETE=zsh_complete" in moorage("--show-completion zsh").out
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
    monkeypatch.setenv("_MOORAGE_COMPLETE", "bash_complete")
    assert {line.partition(",")[2] for line in moorage("").out.splitlines()} == completed


def loaded_by(script: str, **variables: str) -> tuple[str, set[str]]:
    """Run a program of Python's; return its stdout and the modules that it has loaded then."""
    script = f"import sys\ntry:\n {script}\nfinally: print('', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **variables},
    )
    *lines, modules = done.stdout.splitlines()
    return "\n".join(lines), set(modules.split())


@pytest.mark.parametrize("words", ["--version", "--help", "completion"])
def test_version_help_and_completion_load_little(words: str) -> None:
    """No SDK, no server, no tables."""
    complete = {"_MOORAGE_COMPLETE": "bash_complete", "COMP_WORDS": "moorage t", "COMP_CWORD": "1"}
    shown, modules = loaded_by(
        f"import runpy; sys.argv[1:] = [{words!r}]; runpy.run_module('moorage', None, '__main__')",
        **(complete if words == "completion" else {}),
    )
    starts = {"--version": "moorage 0.", "--help": "Usage: moorage", "completion": "plain,token"}
    assert shown.startswith(starts[words])
    assert not (SDK | {"asyncio", "logging", "rich"}) & modules
    assert {name for name in modules if name.startswith(("moorage.", "chalicelib."))} == {
        *(f"moorage.cli.{name}" for name in ("access", "client", "command", "deploy")),
        *(f"moorage.cli.{name}" for name in ("garbage", "main", "options", "output", "repo")),
        *(
            f"moorage.cli.{name}"
            for name in ("registry", "retention", "serve", "transfer", "usage")
        ),
        *("moorage.cli", "moorage.common", "moorage.common.errors"),
    }
    assert len(modules) < 250


def test_the_proxy_loads_no_sdk() -> None:
    """`moorage proxy` starts without boto3, moto, chalice or the registry."""
    _, modules = loaded_by("from moorage.cli import main; from moorage.proxy import server")
    assert not (SDK - {"aiohttp"} | {"app"}) & modules
