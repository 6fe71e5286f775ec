"""The `moorage` command: its words, defaults and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from moorage.cli import main as cli
from moorage.gateway import server as gateway
from moorage.local import run as local


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[local.LocalOptions]:
    """Collect what `moorage local` was asked for, instead of running it."""
    calls: list[local.LocalOptions] = []

    def run(options: local.LocalOptions) -> int:
        calls.append(options)
        return 7

    monkeypatch.setattr(local, "run", run)
    for name in ("GATEWAY_PORT", "PROXY_PORT", "AUTH", "ADMIN_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_local_needs_no_options(asked: list[local.LocalOptions]) -> None:
    """`moorage local` alone means moto, port 8000 and port 5000."""
    assert cli.main(["local"]) == 7
    assert asked == [local.LocalOptions()]
    assert (asked[0].gateway_port, asked[0].proxy_port) == (8000, 5000)


def test_the_environment_gives_the_ports(
    asked: list[local.LocalOptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """GATEWAY_PORT and PROXY_PORT are the defaults, and options win over them."""
    monkeypatch.setenv("GATEWAY_PORT", "8001")
    monkeypatch.setenv("PROXY_PORT", "5001")
    cli.main(["local", "--proxy-port", "5002"])
    assert (asked[0].gateway_port, asked[0].proxy_port) == (8001, 5002)


@pytest.mark.parametrize(
    ("word", "on"),
    [("1", True), ("yes", True), ("anything", True), ("0", False), ("", False), ("off", False)],
)
def test_the_environment_turns_access_control_on(
    asked: list[local.LocalOptions], monkeypatch: pytest.MonkeyPatch, word: str, *, on: bool
) -> None:
    """AUTH is the default, a word that is not clearly a no is a yes, and options win over it."""
    monkeypatch.setenv("AUTH", word)
    for words in (["local"], ["local", "--auth"], ["local", "--no-auth"]):
        cli.main(words)
    assert [options.auth for options in asked] == [on, True, False]


@pytest.mark.parametrize(("given", "path"), [("token", Path("token")), ("", None)])
def test_the_environment_names_the_token_file(
    asked: list[local.LocalOptions], monkeypatch: pytest.MonkeyPatch, given: str, path: Path | None
) -> None:
    """ADMIN_TOKEN_FILE is the default, and an empty one is none."""
    monkeypatch.setenv("ADMIN_TOKEN_FILE", given)
    cli.main(["local", "--auth"])
    assert asked[0].admin_token_file == path


def test_every_option_of_local_arrives(asked: list[local.LocalOptions], tmp_path: Path) -> None:
    """Each option sets the field of its name."""
    words = (
        "local --gateway-port 1 --proxy-port 0 --aws-endpoint http://x --head-mode zero "
        f"--inline-limit 0 --ready-file {tmp_path} --log-level debug --auth "
        f"--admin-token-file {tmp_path}/token"
    )
    cli.main(words.split())
    assert asked == [
        local.LocalOptions(
            gateway_port=1,
            proxy_port=0,
            aws_endpoint="http://x",
            head_mode="zero",
            inline_limit=0,
            ready_file=tmp_path,
            log_level="debug",
            auth=True,
            admin_token_file=tmp_path / "token",
        )
    ]


def test_every_option_of_the_gateway_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option sets the field of its name; the timeout's default is AWS's."""
    asked: list[gateway.GatewayOptions] = []

    async def serve(options: gateway.GatewayOptions) -> None:
        asked.append(options)

    monkeypatch.setattr(gateway, "serve", serve)
    words = "gateway --host ::1 --port 1 --head-mode zero --threads 2 --timeout 0.5"
    assert (cli.main(["gateway"]), cli.main(words.split())) == (0, 0)
    assert asked == [
        gateway.GatewayOptions(timeout_seconds=29),
        gateway.GatewayOptions(
            host="::1", port=1, head_mode=gateway.HeadMode.ZERO, threads=2, timeout_seconds=0.5
        ),
    ]


@pytest.mark.parametrize(
    "words",
    [
        "",
        "unknown",
        "local --gateway-port 65536",
        "local --proxy-port -1",
        "local --head-mode other",
        "local --inline-limit few",
        "proxy",
        "gateway --threads 0",
        "gateway --timeout 0",
        "proxy --upstream http://x --patience soon",
        "proxy --upstream http://x --chunk-size -1",
    ],
)
def test_a_wrong_word_is_status_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What the command doesn't know is refused with a usage line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 2
    assert "usage: moorage" in capsys.readouterr().err


def test_a_bad_port_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is no port is refused as the option would be."""
    monkeypatch.setenv("PROXY_PORT", "http")
    with pytest.raises(SystemExit) as ended:
        cli.main(["local"])
    assert ended.value.code == 2
    assert "--proxy-port: 'http' is no port" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--help", "local --help", "gateway --help", "proxy --help"])
def test_help_is_given(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself, and hides what is only for children."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words.split())
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert "usage: moorage" in output
    assert "--stop-with-input" not in output


def test_version_is_told() -> None:
    """`python -m moorage --version` names the program and its version."""
    result = subprocess.run(
        [sys.executable, "-m", "moorage", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith("moorage 0.")


def test_the_proxy_loads_no_sdk() -> None:
    """`moorage proxy` starts without boto3, moto, chalice or the registry."""
    script = (
        "import sys; from moorage.cli import main; from moorage.proxy import server; "
        "print([m for m in ('boto3', 'moto', 'chalice', 'app') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
