"""`moorage local` with fakes for the gateway and the proxy: starting, failing, stopping."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from moorage.common.data import DataNames
from moorage.local.children import start as start_child
from moorage.local.options import LocalOptions, gateway_environment, port_problem
from tests.emulators.backends import moto_backend
from tests.moorage.local import driver as local_driver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENDPOINT = "http://127.0.0.1:4566"
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_PROFILE": "real",
    "AWS_ENDPOINT_URL_S3": "http://elsewhere.invalid",
    "PATH": "/bin",
}


@contextmanager
def taken_port() -> Iterator[int]:
    """Listen on a port until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("option", "flag", "variable"),
    [
        ("gateway_port", "--gateway-port", "GATEWAY_PORT"),
        ("proxy_port", "--proxy-port", "PROXY_PORT"),
    ],
)
def test_a_taken_port_is_named_before_anything_starts(
    tmp_path: Path, option: str, flag: str, variable: str
) -> None:
    """One line says which port is taken and both ways to move it; nothing was started."""
    with taken_port() as port:
        driven = local_driver.start(tmp_path, options={option: port})
        status, output, errors = driven.end()
    assert (status, output, driven.noted()) == (1, "", [])
    assert errors.count("\n") == 1
    assert f"port {port} is already in use" in errors
    assert f"{variable}={port + 1} make run" in errors
    assert f"moorage local {flag} {port + 1}" in errors


@pytest.mark.parametrize(("system", "mentioned"), [("darwin", True), ("linux", False)])
def test_airplay_is_mentioned_where_it_exists(
    monkeypatch: pytest.MonkeyPatch, system: str, *, mentioned: bool
) -> None:
    """On macOS, and only there, the error about port 5000 says who holds it."""
    monkeypatch.setattr("sys.platform", system)
    line = port_problem("proxy", 5000, "is already in use")
    assert ("AirPlay" in line) is mentioned


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    """The gateway and the proxy can't be given the same port."""
    driven = local_driver.start(tmp_path, options={"gateway_port": 18999, "proxy_port": 18999})
    status, _, errors = driven.end()
    assert status == 1
    assert "can't both have port 18999" in errors
    assert driven.noted() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_children_in_order(tmp_path: Path, number: signal.Signals) -> None:
    """Ready, it tells where things are; told to stop, it stops the proxy first and exits 0."""
    driven = local_driver.start(tmp_path)
    ready = driven.ready()
    assert set(ready) == {"gateway", "proxy", "aws", "pids", "auth", "admin_token_file"}
    assert (ready["auth"], ready["admin_token_file"]) == (False, None)
    pids = [ready["pids"][name] for name in ("moto", "gateway", "proxy")]
    assert all(local_driver.alive(pid) for pid in pids)
    driven.process.send_signal(number)
    status, output, errors = driven.end()
    assert (status, errors) == (0, "")
    assert driven.noted() == ["gateway up", "proxy up", "proxy down", "gateway down"]
    assert not any(local_driver.alive(pid) for pid in pids)
    assert not driven.ready_file.exists()
    image = ready["proxy"].removeprefix("http://") + "/demo/my-image:1"
    for command in (f"docker push {image}", f"podman push --tls-verify=false my-image {image}"):
        assert command in output
    assert f"docker://{image}" in output
    assert "in memory, gone when this ends" in output
    assert "The registry is open: whoever is on this machine" in output
    assert "make run AUTH=1" in output
    assert "login" not in output


def test_a_child_that_is_ready_late_says_nothing_new(tmp_path: Path) -> None:
    """That it is ready was told when it answered; what it says besides is shown."""
    driven = local_driver.start(tmp_path, proxy="talks")
    driven.ready()
    driven.wait_for_note("proxy talked")
    driven.process.terminate()
    status, _, errors = driven.end()
    assert (status, errors) == (0, "proxy | and that is all\n")


def test_killing_it_leaves_no_child(tmp_path: Path) -> None:
    """After kill -9 of the parent every child ends by itself."""
    driven = local_driver.start(tmp_path)
    pids = driven.ready()["pids"].values()
    driven.process.kill()
    local_driver.wait_until_gone(*pids)
    driven.end()


def test_a_child_that_dies_while_starting_ends_everything(tmp_path: Path) -> None:
    """The error names the child, how it ended, and its last words."""
    driven = local_driver.start(tmp_path, proxy="dies")
    status, _, errors = driven.end()
    assert status == 1
    assert "moorage local: proxy ended (exit status 1)" in errors
    assert "proxy: no such luck" in errors
    assert driven.noted() == ["gateway up", "proxy up", "gateway down"]


def test_a_child_that_dies_later_ends_everything(tmp_path: Path) -> None:
    """What works without a child is stopped as well, and the exit status is 1."""
    driven = local_driver.start(tmp_path, gateway="dies-later")
    status, _, errors = driven.end()
    assert status == 1
    assert "gateway ended (exit status 3)" in errors
    assert "gateway: fell over" in errors
    assert driven.noted() == ["gateway up", "proxy up", "proxy down"]
    assert not driven.ready_file.exists()


def test_it_can_be_stopped_while_it_starts(tmp_path: Path) -> None:
    """Told to stop before it is ready, it exits 0 without ever saying ready."""
    driven = local_driver.start(tmp_path, gateway="hangs")
    driven.wait_for_note("gateway up")
    driven.process.terminate()
    status, output, _ = driven.end()
    assert (status, output) == (0, "")
    assert driven.noted() == ["gateway up", "gateway down"]


def test_another_endpoint_needs_no_moto(tmp_path: Path) -> None:
    """With --aws-endpoint the data is made there and no moto is started."""
    with moto_backend() as other:
        driven = local_driver.start(tmp_path, options={"aws_endpoint": other.endpoint_url})
        ready = driven.ready()
        assert ready["aws"] == other.endpoint_url
        assert ready["pids"]["moto"] is None
        names = DataNames()
        other.s3().head_bucket(Bucket=names.bucket)
        tables = other.dynamodb().list_tables()["TableNames"]
        assert {names.registry_table, names.uploads_table} <= set(tables)
        driven.process.terminate()
        status, output, _ = driven.end()
    assert status == 0
    assert "in memory" not in output


def test_an_endpoint_that_does_not_answer_is_named(tmp_path: Path) -> None:
    """The error names the endpoint, and nothing else was started."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        driven = local_driver.start(tmp_path, options={"aws_endpoint": url})
        status, _, errors = driven.end()
    assert status == 1
    assert url in errors
    assert driven.noted() == []


def test_nothing_of_the_users_aws_settings_goes_to_moto() -> None:
    """On moto, credentials are made up and no setting of the user's is left."""
    environment = gateway_environment(SECRETS, LocalOptions(), DataNames(), "http://127.0.0.1:1")
    assert "real" not in "".join(environment.values()).lower()
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == "us-east-1"
    assert environment["AWS_EC2_METADATA_DISABLED"] == "true"
    assert environment["MOORAGE_SERIAL_DYNAMODB"] == "1"
    assert environment["MALLOC_ARENA_MAX"] == "2"
    assert "AWS_ENDPOINT_URL_S3" not in environment
    assert environment["PATH"] == "/bin"


def test_another_endpoint_gets_the_users_credentials() -> None:
    """With --aws-endpoint credentials and region stay, and only the endpoint is ours."""
    environment = gateway_environment(
        SECRETS | {"AWS_DEFAULT_REGION": "eu-west-1"},
        LocalOptions(aws_endpoint=ENDPOINT),
        DataNames(),
        ENDPOINT,
    )
    assert environment["AWS_ACCESS_KEY_ID"] == "AKIAREAL"
    assert environment["AWS_REGION"] == "eu-west-1"
    assert environment["AWS_ENDPOINT_URL"] == ENDPOINT
    assert environment["MOORAGE_SERIAL_DYNAMODB"] == "0"
    assert "AWS_ENDPOINT_URL_S3" not in environment


def test_another_endpoint_gets_made_up_credentials_if_there_are_none() -> None:
    """With --aws-endpoint and no credentials, an emulator can still be used."""
    options = LocalOptions(aws_endpoint=ENDPOINT)
    environment = gateway_environment({}, options, DataNames(), ENDPOINT)
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AWS_SECRET_ACCESS_KEY"] == "local"
    assert environment["AWS_REGION"] == "us-east-1"


def test_settings_reach_the_gateway() -> None:
    """Names and limits become the variables that the registry reads."""
    environment = gateway_environment(
        {"MOORAGE_COMMIT_FUNCTION": "elsewhere", "no_proxy": "intranet"},
        LocalOptions(inline_limit=0),
        DataNames("b", "r", "u"),
        "http://127.0.0.1:1",
    )
    assert environment["MOORAGE_BUCKET"] == "b"
    assert environment["MOORAGE_REGISTRY_TABLE"] == "r"
    assert environment["MOORAGE_UPLOADS_TABLE"] == "u"
    assert environment["MOORAGE_INLINE_LIMIT"] == "0"
    assert "MOORAGE_COMMIT_FUNCTION" not in environment
    assert environment["NO_PROXY"] == "intranet,127.0.0.1,localhost,::1"


def test_a_child_that_ignores_being_told_is_killed() -> None:
    """SIGTERM comes first, SIGKILL after the grace."""
    script = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    lines: list[str] = []
    child = start_child("deaf", [sys.executable, "-c", script], os.environ, echo=lines.append)
    while not lines:
        time.sleep(0.01)
    child.stop(grace_seconds=0.2)
    assert not local_driver.alive(child.pid)
    assert lines == ["deaf | deaf"]
