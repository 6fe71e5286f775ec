"""A network of the run's own, in which AWS's host names mean this machine, with TLS that is valid.

It is Linux's namespaces of a process and its children: network, mounts, process ids. All of it ends
with the first process in it, so that nothing is left behind, and two runs never meet. There is no
way out: whatever is not served within is refused.
"""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIFE: Final = dt.timedelta(days=100)  # `moorage doctor` warns of one that ends soon
_SKEW: Final = dt.timedelta(days=1)
_HOSTS: Final = Path("/etc/hosts")


def command(*words: str) -> list[str]:
    """Return the command that runs a Python program of ours in namespaces of its own."""
    unshare = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:  # then a user namespace, where the machine allows one
        unshare.append("--map-root-user")
    return [*unshare, sys.executable, *words]


@dataclass(frozen=True)
class Certificates:
    """Files: an authority of the run's own, and a certificate by it with its key."""

    authority: Path
    certificate: Path
    key: Path


def enter(folder: Path, names: Sequence[str]) -> Certificates:
    """Give these host names to this machine, inside namespaces; return how to prove them.

    Raises CalledProcessError, and RuntimeError outside of namespaces of its own.
    """
    if os.getpid() != 1:
        raise RuntimeError("this changes /etc/hosts: only in namespaces of its own")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {each}\n" for each in names))
    subprocess.run(["mount", "--bind", hosts, _HOSTS], check=True)
    return _certificates(folder, names)


def _certificates(folder: Path, names: Sequence[str]) -> Certificates:
    files = Certificates(*(folder / name for name in ("authority.pem", "server.pem", "server.key")))
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _name("The authority of a run of make e2e")
    root = (
        _builder(root_name, root_name, root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    server = (
        _builder(_name("AWS, emulated"), root_name, key)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(root_key, hashes.SHA256())
    )
    files.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    files.certificate.write_bytes(server.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + _LIFE)
    )
