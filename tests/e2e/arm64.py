"""Lambda's processor on this machine: Debian's Python for arm64, under qemu.

It comes from the machine's own package sources, into a folder of its own: the machine gets no other
architecture. Its version is that of the Python that packages the functions, so it needs the Debian
that has this one: 12 has 3.11, 13 has 3.13.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.clients.tools import TOOLS
from tests.support import network

if TYPE_CHECKING:
    from collections.abc import Mapping

QEMU: Final = "qemu-aarch64-static"
PYTHON: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
ROOT: Final = TOOLS / "e2e" / f"arm64-{PYTHON}"
"""What the emulated programs see of Debian."""

_PACKAGES: Final = (f"{PYTHON}-minimal", f"lib{PYTHON}-stdlib")
_SECONDS: Final = 300

# The app and all that it imports; ES256, by which tokens are signed; base64 of bodies; a hash that
# is saved and resumed; a URL for a client.
_PROBE: Final = """
import os, platform, sys, types
sys.path.insert(0, os.getcwd())
import app
import jwt, pybase64
from cryptography.hazmat.primitives.asymmetric import ec
from chalicelib.digest import Digest, Hasher
from chalicelib.wiring import registry as wiring

assert platform.machine() == "aarch64", platform.machine()
assert sorted(each.name for each in app.app.pure_lambda_functions) == ["commit", "verify"]
key = ec.generate_private_key(ec.SECP256R1())
signed = jwt.encode({"sub": "x"}, key, algorithm="ES256")
assert jwt.decode(signed, key.public_key(), algorithms=["ES256"]) == {"sub": "x"}
try:
    jwt.decode(signed, ec.generate_private_key(ec.SECP256R1()).public_key(), algorithms=["ES256"])
except jwt.InvalidSignatureError:
    pass
else:
    raise AssertionError("another key verifies the signature")
data = os.urandom(1_000_003)
assert pybase64.b64decode(pybase64.b64encode(data), validate=True) == data
for algorithm in ("sha256", "sha512"):
    first = Hasher(algorithm)
    first.update(data[:333_333])
    second = Hasher.restore(algorithm, first.state(), 333_333)
    second.update(data[333_333:])
    assert second.digest() == Digest.of(data, second.digest().algorithm)
link = types.SimpleNamespace(key="blobs/x")
url = wiring.registry().blobs.url(link, method="GET")
assert url.startswith("https://a-bucket.s3.eu-central-1.amazonaws.com/blobs/x?X-Amz-"), url
print("the package works on", platform.machine(), "by Python", platform.python_version())
"""


def install() -> None:
    """Unpack Debian's Python for arm64, if need be; raises RuntimeError, SubprocessError."""
    if ROOT.is_dir():
        return
    print(f"e2e: fetching Debian's {PYTHON} for arm64", flush=True)
    with tempfile.TemporaryDirectory(prefix="moorage-arm64-", dir=ROOT.parent) as name:
        work = Path(name)
        for folder in ("lists/partial", "archives/partial", "root"):
            (work / folder).mkdir(parents=True)
        (work / "status").touch()
        apt_get = _apt_get(work)
        network.run([*apt_get, "update"], timeout=_SECONDS).check_returncode()
        fetch = [*apt_get, "--no-install-recommends", "--download-only", "-y", "install"]
        done = network.run([*fetch, *_PACKAGES], timeout=_SECONDS)
        if done.returncode:
            raise RuntimeError(
                f"Debian has no {PYTHON} for arm64 here: run this by a Python that it has"
                " (`make e2e PYTHON=/usr/bin/python3`, without .venv)"
            )
        for package in sorted((work / "archives").glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, work / "root"], check=True)
        (work / "root").rename(ROOT)


def _apt_get(work: Path) -> list[str]:
    """Return apt-get for another architecture, with a state of its own."""
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "root",  # it can't write into a folder of ours
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Dir::Cache::archives": f"{work}/archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::State::lists": f"{work}/lists",
        "Dir::State::status": f"{work}/status",
    }
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def emulated(*words: str) -> list[str]:
    """Return the command of Python for arm64 with these words."""
    qemu = shutil.which(QEMU) or QEMU
    return [qemu, "-L", str(ROOT), str(ROOT / "usr" / "bin" / PYTHON), *words]


def probe(task: Path, environment: Mapping[str, str]) -> str:
    """Try what the functions need in an unpacked package; return a line about it.

    Raises RuntimeError.
    """
    named = {
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_SECRET_ACCESS_KEY": "no-secret",
        "MOORAGE_AUTH": "off",
        "MOORAGE_BUCKET": "a-bucket",
        "MOORAGE_REGISTRY_TABLE": "registry",
        "MOORAGE_UPLOADS_TABLE": "uploads",
    }
    done = subprocess.run(
        emulated("-S", "-c", _PROBE),
        cwd=task,
        env={**environment, **named},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"the package does not work on arm64: {done.stdout}{done.stderr}")
    return done.stdout.strip()
