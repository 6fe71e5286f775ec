"""Moorage without a checkout: the wheel, made from the source distribution, and its extras.

Each extra has an environment of its own, and each command runs in the one that ought to be enough.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from moto.server import ThreadedMotoServer

from chalicelib.digest import Digest
from moorage.common.project import DEPLOYER_POLICY, PROJECT
from tests.moorage.deploy.cloudformation import emulated
from tests.moorage.local.driver import ready
from tests.moorage.transfer.images import Content
from tests.support import network
from tests.support.fake_registry import run_fake_registry
from tests.support.moorage_command import TOKEN
from tests.support.servers import push_blob
from tests.support.whole_registry import run_whole_registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.emulators.backends import Backend

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

UV = (sys.executable, "-m", "uv")
CONSTRAINTS = ("--constraint", str(PROJECT / "constraints.txt"))
LAYER = os.urandom(6 * 1024 * 1024)
DIGEST = str(Digest.of(LAYER))
HOSTILE = "raise SystemExit('an app.py that is not ours was run')\n"


class Installed:
    """An environment with the wheel in it, seen from a folder with somebody else's app.py."""

    def __init__(self, folder: Path, wheel: Path, extra: str | None) -> None:
        self.bin = folder / "venv" / "bin"
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        (self.home / "app.py").write_text(HOSTILE, encoding="utf-8")
        python = str(self.bin / "python")
        _done([*UV, "venv", "--python", sys.executable, folder / "venv"])
        wanted = f"moorage[{extra}]" if extra else "moorage"
        wanted += f" @ {wheel.as_uri()}"
        _done([*UV, "pip", "install", "--python", python, *CONSTRAINTS, wanted])
        if extra is None:  # pip, with which people install it, takes the wheel and finds it whole
            pip = (sys.executable, "-m", "pip", "--python", python)
            _done([*pip, "install", "--no-compile", "--no-deps", "--force-reinstall", wheel])
            _done([*pip, "check"])

    def distributions(self) -> set[str]:
        """Return the names of what is installed."""
        listed = _done([*UV, "pip", "list", "--format", "json", "--python", self.bin / "python"])
        return {each["name"].lower() for each in json.loads(listed.stdout)}

    def command(self, *words: str, **variables: str) -> dict[str, Any]:
        """Return how subprocess runs `moorage` there, with nothing of this environment's."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "MOORAGE_", "PYTHON"))
        }
        return {
            "args": [str(self.bin / "moorage"), *words],
            "cwd": self.home,
            "env": {**kept, "AWS_EC2_METADATA_DISABLED": "true", **variables},
            "text": True,
        }

    def run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self.command(*words, **variables)
        return subprocess.run(**command, capture_output=True, check=False, timeout=600)

    @contextmanager
    def serving(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run a server until the block ends; it has to end well."""
        server = subprocess.Popen(**self.command(*words), stdout=subprocess.PIPE)
        try:
            yield server
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
        assert server.returncode == 0


def _done(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    done = network.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is made from the source distribution, and that from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("build", "dist", "__pycache__", "*.egg-info", ".[!c]*")
    shutil.copytree(PROJECT, folder / "source", ignore=ignored)
    _done([*UV, "build", folder / "source", "--out-dir", folder])
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What `pip install moorage` brings."""
    return Installed(tmp_path_factory.mktemp("core"), wheel, None)


def installed(wheel: Path, folder: Path, extra: str) -> Installed:
    """Return what `pip install 'moorage[EXTRA]'` brings."""
    return Installed(folder / extra, wheel, extra)


def test_the_wheel_holds_two_packages_and_the_projects_files(wheel: Path) -> None:
    """No top-level name but ours and Chalice's, every module, what a deployment is made of."""
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    information = f"moorage-{version}.dist-info"
    assert {name.partition("/")[0] for name in content} == {"chalicelib", "moorage", information}
    expected = {
        f"moorage/_project/{path.relative_to(PROJECT).as_posix()}": path
        for pattern in ("app.py", "requirements.txt", ".chalice/*.json", "infra/*.*")
        for path in PROJECT.glob(pattern)
    }
    for package in ("chalicelib", "moorage"):
        code = (PROJECT / package).rglob("*.py")
        for path in [*code, PROJECT / package / "py.typed", *(PROJECT / package).glob("web/*")]:
            expected[path.relative_to(PROJECT).as_posix()] = path
    packed = {name: each for name, each in content.items() if not name.startswith(information)}
    assert packed.keys() == expected.keys()
    assert all(each == expected[name].read_bytes() for name, each in packed.items())


def test_core_pushes_through_the_proxy(core: Installed) -> None:
    """It brings no SDK, no framework, no emulator; its proxy cuts a layer for the registry."""
    assert not {"boto3", "botocore", "chalice", "moto", "pyyaml"} & core.distributions()
    shown = core.run("--version")
    assert (shown.returncode, shown.stdout.startswith("moorage ")) == (0, True)
    assert core.run("proxy", "--help").returncode == 0
    with (
        run_fake_registry() as fake,
        core.serving("proxy", "--upstream", fake.url, "--port", "0") as proxy,
    ):
        assert proxy.stdout is not None
        assert push_blob(proxy.stdout.readline().split()[-1], "x", LAYER) == 201
        assert fake.blobs[DIGEST] == LAYER


def test_core_pushes_and_pulls_an_image(core: Installed, tmp_path: Path) -> None:
    """It needs no SDK for that either, and what comes back is the same."""
    content = Content()
    content.tag(content.image(LAYER))
    with run_whole_registry() as registry:
        place = f"{registry.url}/x:1"
        pushed = core.run("push", f"oci:{content.folder(tmp_path / 'image')}", place, "--quiet")
        pulled = core.run("pull", place, f"oci:{tmp_path}/copy", "--quiet")
    assert (pushed.returncode, pushed.stderr) == (pulled.returncode, pulled.stderr) == (0, "")
    assert pushed.stdout == pulled.stdout == f"{content.entries[0]['digest']}\n"
    assert (tmp_path / "copy/blobs" / DIGEST.replace(":", "/")).read_bytes() == LAYER


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("local",), "local"),
        (("gateway",), "local"),
        (("deploy", "--stage", "x"), "deploy"),
        (("destroy", "--stage", "x"), "deploy"),
        (("token", "list"), "aws"),
        (("key", "show"), "aws"),
    ],
)
def test_core_says_what_else_to_install(
    core: Installed, words: tuple[str, ...], extra: str
) -> None:
    """A command whose extra is missing says so in one line, and fails; its help works."""
    refused = core.run(*words)
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"moorage {words[0]}")
    assert line.endswith(f" not installed: pip install 'moorage[{extra}]'")
    assert core.run(*words, "--help").returncode == 0


def test_core_prints_the_deployers_policy(core: Installed) -> None:
    """Whoever manages the account needs nothing else for it."""
    assert core.run("deploy", "--print-policy").stdout == DEPLOYER_POLICY.read_text("utf-8")


def test_aws_manages_access(wheel: Path, tmp_path: Path, strict_moto: Backend) -> None:
    """`moorage[aws]` is enough for the owner's commands."""
    aws = installed(wheel, tmp_path, "aws")
    assert not {"chalice", "moto"} & aws.distributions()
    backend = strict_moto.fresh()
    words = ("--table", backend.access_table, "--aws-endpoint", backend.endpoint_url)
    made = aws.run("token", "create", "ci", "--grant", "**:pull", *words)
    assert made.returncode == 0, made.stderr
    assert TOKEN.search(made.stdout)
    assert "ci" in aws.run("token", "list", *words).stdout


def test_deploy_packages_and_deploys(wheel: Path, tmp_path: Path) -> None:
    """`moorage[deploy]` is enough to package the functions and to make the stacks."""
    deploy = installed(wheel, tmp_path, "deploy")
    assert "moto" not in deploy.distributions()
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    with emulated():
        server.start()
        host, port = server.get_host_and_port()
        try:
            made = deploy.run(
                # An edge's keys have an endpoint of their own, which moto doesn't serve.
                *("deploy", "--stage", "x", "--edge", "no"),
                AWS_ENDPOINT_URL=f"http://{host}:{port}",
                AWS_ACCESS_KEY_ID="testing",
                AWS_SECRET_ACCESS_KEY="testing",  # noqa: S106 - made up
                AWS_REGION="us-east-1",
                NO_MEASURE="1",  # moto's API can't be reached
            )
        finally:
            server.stop()
    assert made.returncode == 0, made.stderr
    assert "The registry is at https://" in made.stdout
    assert TOKEN.search(made.stdout)


def test_local_serves_a_registry(core: Installed, wheel: Path, tmp_path: Path) -> None:
    """`moorage[local]` pushes and pulls, and core's doctor finds the registry well."""
    local = installed(wheel, tmp_path, "local")
    words = ("--gateway-port", "0", "--proxy-port", "0", "--ready-file", "ready.json")
    with local.serving("local", *words) as server:
        addresses = ready(server, local.home / "ready.json")
        assert push_blob(addresses["proxy"], "x", LAYER) == 201
        with urllib.request.urlopen(f"{addresses['proxy']}/v2/x/blobs/{DIGEST}") as pulled:  # noqa: S310 - on this machine
            assert pulled.read() == LAYER
        report = core.run("doctor", addresses["gateway"])
    assert report.returncode == 0, report.stdout
