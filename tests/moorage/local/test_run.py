"""`moorage local` with fakes for the gateway and the proxy: starting, failing, stopping."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from chalicelib.access.credentials import hash_of
from moorage.common.data import DataNames
from moorage.local import access
from moorage.local import run as local
from moorage.local.backend import create_data
from moorage.local.children import start as start_child
from tests.moorage.local import driver
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.emulators.backends import Backend

    Run = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture
def run_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it in this process until it fails; return exit status, errors and notes of the fakes."""

    def run(gateway: str = "serves", proxy: str = "serves", **options: Any) -> Any:  # noqa: ANN401 - fields of LocalOptions
        log = tmp_path / "log"
        free = dict.fromkeys(("gateway_port", "proxy_port", "edge_port"), 0)
        ready = {"ready_file": tmp_path / "ready.json"}
        chosen = local.LocalOptions(**{**free, **ready, **options})
        status = local.run(chosen, programs=driver.fakes(log, gateway, proxy))
        assert not (tmp_path / "ready.json").exists()
        return status, capsys.readouterr().err, driver.noted(log)

    return run


def test_an_option_that_is_refused_starts_nothing(run_here: Run) -> None:
    """The error is one line, and the exit status 1."""
    status, errors, noted = run_here(gateway_port=18999, proxy_port=18999)
    assert (status, errors.count("\n"), noted) == (1, 1, [])
    assert errors.startswith("moorage local: the gateway and the proxy can't both have port 18999")


def test_an_endpoint_that_does_not_answer_is_named(run_here: Run) -> None:
    """The error names the endpoint, and nothing else was started."""
    url = "http://127.0.0.1:1"
    status, errors, noted = run_here(aws_endpoint=url)
    assert (status, noted) == (1, [])
    assert url in errors


def test_an_endpoint_without_ssm_is_refused(run_here: Run, ministack: Backend) -> None:
    """Access control needs a place for its key; the error names the endpoint, and nothing runs."""
    status, errors, noted = run_here(aws_endpoint=ministack.endpoint_url, auth=True)
    assert (status, noted) == (1, [])
    assert f"access control could not be set up at {ministack.endpoint_url}" in errors
    assert "SSM" in errors


@pytest.mark.parametrize(
    ("gateway", "proxy", "told", "last", "then"),
    [
        (
            *("serves", "dies", "proxy ended (exit status 1)", "proxy: no such luck"),
            ["gateway down"],
        ),
        (
            *("dies-later", "serves", "gateway ended (exit status 3)", "gateway: fell over"),
            ["edge up", "edge down", "proxy down"],
        ),
    ],
    ids=["while starting", "later"],
)
def test_a_child_that_dies_ends_everything(  # noqa: PLR0913 - fixtures, and a row of the table
    run_here: Run,
    moto: Backend,
    gateway: str,
    proxy: str,
    told: str,
    last: str,
    then: list[str],
) -> None:
    """The error names the child, how it ended, and its last lines; the others are stopped."""
    status, errors, noted = run_here(gateway, proxy, aws_endpoint=moto.endpoint_url)
    assert status == 1
    assert f"moorage local: {told}" in errors
    assert last in errors
    assert noted == ["gateway up", "proxy up", *then]


def test_a_signal_stops_children_in_order(tmp_path: Path) -> None:
    """Ready, it says where things are; at a signal it stops the last one first and exits with 0."""
    driven = driver.start(tmp_path, {})
    ready = driven.ready()
    assert set(ready) == {"gateway", "proxy", "edge", "aws", "pids", "auth", "admin_token_file"}
    assert (ready["auth"], ready["admin_token_file"]) == (False, None)
    pids = [ready["pids"][name] for name in ("moto", "gateway", "proxy", "edge")]
    assert all(driver.alive(pid) for pid in pids)
    driven.process.send_signal(signal.SIGINT)
    status, output, errors = driven.end()
    assert (status, errors) == (0, "")
    notes = driver.noted(driven.log)
    names = ["gateway", "proxy", "edge"]
    assert notes == [f"{name} up" for name in names] + [f"{name} down" for name in names[::-1]]
    assert not any(driver.alive(pid) for pid in pids)
    assert not driven.ready_file.exists()
    image = ready["proxy"].removeprefix("http://") + "/demo/my-image:1"
    for command in (f"docker push {image}", f"podman push --tls-verify=false my-image {image}"):
        assert command in output
    assert f"docker://{image}" in output
    edge = ready["edge"]
    first = output.splitlines()[2]
    assert first == f"  docker 29, buildx, oras, helm: push here, no proxy     {edge}"
    assert f"docker push {edge.removeprefix('http://')}/demo/my-image:1" in output
    assert "in memory, gone when this ends" in output
    assert "The registry is open: everybody on this machine" in output
    assert "make run AUTH=1" in output
    assert "login" not in output


def test_a_child_that_prints_ready_late_shows_the_rest_only(tmp_path: Path, moto: Backend) -> None:
    """That it is ready was known when it answered; its other lines are shown."""
    driven = driver.start(tmp_path, {"aws_endpoint": moto.endpoint_url}, proxy="talks")
    driven.ready()
    driven.wait_for_note("proxy talked")
    driven.process.terminate()
    status, _, errors = driven.end()
    assert (status, errors) == (0, "proxy | and that is all\n")


def test_a_signal_while_it_starts_stops_it(tmp_path: Path, moto: Backend) -> None:
    """It exits with 0, and never prints that it is ready."""
    driven = driver.start(tmp_path, {"aws_endpoint": moto.endpoint_url}, gateway="hangs")
    driven.wait_for_note("gateway up")
    driven.process.terminate()
    status, output, _ = driven.end()
    assert (status, output) == (0, "")
    assert driver.noted(driven.log) == ["gateway up", "gateway down"]


@pytest.mark.parametrize("to_file", [True, False])
def test_access_control_at_another_endpoint(
    tmp_path: Path, moto: Backend, *, to_file: bool
) -> None:
    """The data is made there; a good token in the file stays, and without a file one is printed."""
    names, file = DataNames(), tmp_path / "token"
    options: dict[str, object] = {"aws_endpoint": moto.endpoint_url, "auth": True}
    if to_file:
        create_data(moto.endpoint_url, names, moto.environment)
        where = access.AccessBackend(moto.endpoint_url, moto.environment, names.access_table)
        before = access.set_up(where, file)
        options["admin_token_file"] = str(file)
    driven = driver.start(tmp_path, options)
    ready = driven.ready()
    assert (ready["aws"], ready["auth"]) == (moto.endpoint_url, True)
    assert ready["pids"]["moto"] is None
    assert ready["admin_token_file"] == options.get("admin_token_file")
    driven.process.terminate()
    status, output, errors = driven.end()
    assert (status, errors) == (0, "")
    assert "in memory" not in output
    shown = [line.strip() for line in output.splitlines() if "moor_" in line]
    if to_file:
        assert shown == []
        assert file.read_text() == f"{before}\n"
    else:
        assert not file.exists()
        items = moto.dynamodb().scan(TableName=names.access_table)["Items"]
        assert hash_of(shown[0]) in str(items)
    moto.s3().head_bucket(Bucket=names.bucket)
    for table in (names.registry_table, names.uploads_table):
        # Other tests have tables here too: more than one page of a list has.
        assert moto.dynamodb().describe_table(TableName=table)["Table"]["TableStatus"] == "ACTIVE"


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    """SIGTERM comes first, SIGKILL after the grace."""
    script = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(60)"
    )
    lines: list[str] = []
    child = start_child("deaf", [sys.executable, "-c", script], os.environ, echo=lines.append)
    until(lambda: lines, "the child prints its line")
    began = time.monotonic()
    child.stop(grace_seconds=0.2)
    assert time.monotonic() - began >= 0.2
    assert not driver.alive(child.pid)
    assert lines == ["deaf | deaf"]
