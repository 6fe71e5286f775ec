"""`moorage local` as a person runs it: moto, gateway and proxy are real."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from chalicelib.digest import Digest
from moorage.common.aws import Aws
from moorage.common.data import DataNames
from moorage.common.http import bearer_challenge
from moorage.common.project import PROJECT
from moorage.doctor.checklist import CHECKS
from tests.moorage.local import driver
from tests.support.servers import push_blob, request
from tests.support.waiting import until

MOORAGE = str(Path(sys.executable).with_name("moorage"))
REPOSITORY = "team/app"
BLOB = b"a layer"
DIGEST = Digest.of(BLOB)
Answer = tuple[int, http.client.HTTPMessage, bytes]


@dataclass(frozen=True)
class LocalRegistry:
    """A `moorage local`: its process, the content of its ready file, and its folder."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    folder: Path

    @property
    def pids(self) -> list[int]:
        """The children's."""
        return list(self.ready["pids"].values())


def start(folder: Path, *options: str) -> LocalRegistry:
    """Start it on free ports, from a folder that isn't the checkout; wait until it is ready."""
    free = (
        "--gateway-port",
        "0",
        "--proxy-port",
        "0",
        "--edge-port",
        "0",
        "--ready-file",
        "ready.json",
    )
    process = subprocess.Popen(
        [MOORAGE, "local", *free, *options],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return LocalRegistry(process, driver.ready(process, folder / "ready.json"), folder)


def token_of(registry: LocalRegistry) -> str:
    """Read the admin's API token."""
    return (registry.folder / "token").read_text().strip()


def ask(base: str, method: str, target: str, authorization: str | None = None) -> Answer:
    """Send a request to the gateway or the proxy."""
    headers = {} if authorization is None else {"Authorization": authorization}
    return request(base, method, target, headers=headers)


def ask_as(host: str, base: str) -> Answer:
    """Send a request as a browser does, that a name was led to this machine."""
    return request(base, "GET", "/v2/", headers={"Host": host})


def challenge_of(answer: Answer) -> dict[str, str]:
    """Read the challenge of a 401."""
    assert answer[0] == 401
    return dict(bearer_challenge(answer[1]["WWW-Authenticate"]))


def log_in(challenge: dict[str, str], token: str) -> Answer:
    """Ask the challenge's token endpoint, with an API token as the password."""
    realm = urlsplit(challenge["realm"])
    query = {"service": challenge["service"], "scope": challenge.get("scope", "")}
    basic = base64.b64encode(f"admin:{token}".encode()).decode()
    target = f"{realm.path}?{urlencode(query)}"
    return ask(f"{realm.scheme}://{realm.netloc}", "GET", target, f"Basic {basic}")


def test_an_open_registry_serves_and_kill_leaves_no_child(tmp_path: Path) -> None:
    """A blob that was pushed at the proxy is at the gateway; after kill -9 all children end."""
    registry = start(tmp_path, "--allow-host", "registry.lan")
    gateway, proxy, edge = (registry.ready[name] for name in ("gateway", "proxy", "edge"))
    for door in (gateway, proxy, edge):
        status, headers, _ = ask(door, "GET", "/v2/")
        assert (status, headers["Docker-Distribution-Api-Version"]) == (200, "registry/2.0")
    assert push_blob(proxy, REPOSITORY, BLOB) == 201
    status, headers, _ = ask(gateway, "HEAD", f"/v2/{REPOSITORY}/blobs/{DIGEST}")
    assert (status, headers["Content-Length"]) == (200, str(len(BLOB)))
    check_direct_upload(registry)
    doors = {registry.ready["aws"], gateway, proxy, edge}
    assert {ask_as("evil.example", door)[0] for door in doors} == {403}
    assert {door for door in doors if ask_as("registry.lan", door)[0] == 200} == doors - {
        registry.ready["aws"]
    }
    assert len(registry.pids) == 4
    registry.process.kill()
    driver.wait_until_gone(*registry.pids)
    registry.process.communicate()


def test_a_short_grace_empties_a_registry_that_nothing_is_needed_of(tmp_path: Path) -> None:
    """The gateway runs the hourly functions as often; they delete record and object."""
    registry = start(tmp_path, "--grace", "1")
    names, aws = DataNames(), Aws(registry.ready["aws"])
    s3, dynamodb = aws.client("s3"), aws.client("dynamodb")

    def objects() -> list[Any]:
        found: list[Any] = s3.list_objects_v2(Bucket=names.bucket).get("Contents", [])
        return found

    assert push_blob(registry.ready["gateway"], REPOSITORY, BLOB) == 201
    until(lambda: not objects(), "the bucket is empty", 60)
    rows = dynamodb.scan(TableName=names.registry_table)["Items"]
    assert {row["pk"]["S"] for row in rows} <= {"COLLECTOR", "GARBAGE"}
    registry.process.kill()
    driver.wait_until_gone(*registry.pids)
    registry.process.communicate()


def check_direct_upload(registry: LocalRegistry) -> None:
    """The lines of docs/direct-uploads.md push a file; a wrong one is refused by S3."""
    text = (PROJECT / "docs" / "direct-uploads.md").read_text(encoding="utf-8")
    block = text.split("<!-- curl: begin -->\n```bash\n")[1].split("```")[0]
    data, gateway = b"a file" * 100_000, registry.ready["gateway"]
    file = registry.folder / "layer"
    file.write_bytes(data)
    given = {**os.environ, "REGISTRY": gateway, "NAME": REPOSITORY, "FILE": str(file)}
    for digest, done in ((f"sha256:{'0' * 64}", False), (str(Digest.of(data)), True)):
        lines = block if done else re.sub("digest=.*", f"digest={digest}", block, count=1)
        run = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", lines],
            env=given,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (run.returncode == 0) == done, run.stderr
        status = ask(gateway, "HEAD", f"/v2/{REPOSITORY}/blobs/{digest}")[0]
        assert status == (307 if done else 404)


def test_a_registry_with_access_control(tmp_path: Path) -> None:
    """Clients log in, push and pull, the doctor finds nothing, and SIGINT leaves nothing."""
    registry = start(tmp_path, "--auth", "--admin-token-file", "token", "--head-mode", "zero")
    check_token_file(registry)
    check_challenges(registry)
    check_client(registry)
    check_doctor(registry)
    registry.process.send_signal(signal.SIGINT)
    output, errors = registry.process.communicate(timeout=60)
    assert registry.process.returncode == 0, errors
    # The doctor breaks a connection, and the gateway logs that.
    assert all(" WARNING moorage." in line for line in errors.splitlines()), errors
    assert output.startswith("Moorage is ready.")
    assert token_of(registry) not in output + errors
    assert not any(driver.alive(pid) for pid in registry.pids)
    assert not (tmp_path / "ready.json").exists()


def check_token_file(registry: LocalRegistry) -> None:
    """It holds one line that only its owner can read, and the ready file says where it is."""
    file = registry.folder / "token"
    assert registry.ready["auth"] is True
    assert registry.ready["admin_token_file"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"moor_[0-9A-Za-z]{49}\n", file.read_text())


def check_challenges(registry: LocalRegistry) -> None:
    """Gateway and proxy name the token endpoint at the address that was asked; none opens it."""
    gateway = registry.ready["gateway"]
    for door in (gateway, registry.ready["proxy"]):
        answer = ask(door, "GET", "/v2/")
        realm, service = f"{door}/v2/_token", urlsplit(gateway).netloc
        assert challenge_of(answer) == {"realm": realm, "service": service}
        assert json.loads(answer[2])["errors"][0]["code"] == "UNAUTHORIZED"
    for authorization in ("Bearer x.y.z", "Basic Og==", "moor_x", "Bearer"):
        assert "realm" in challenge_of(ask(gateway, "GET", "/v2/_catalog", authorization))
    challenge = challenge_of(ask(gateway, "GET", "/v2/"))
    assert log_in(challenge, token_of(registry)[:-1] + "!")[0] == 401
    assert ask(gateway, "PUT", "/v2/_token")[0] == 403


def check_client(registry: LocalRegistry) -> None:
    """A client logs in by the challenge of `/v2/`, and gets more by the scoped ones."""
    proxy, admin = registry.ready["proxy"], token_of(registry)
    status, _, body = log_in(challenge_of(ask(proxy, "GET", "/v2/")), admin)
    assert status == 200
    first = f"Bearer {json.loads(body)['token']}"
    assert ask(proxy, "GET", "/v2/", first)[0] == 200

    wanted = challenge_of(ask(proxy, "POST", f"/v2/{REPOSITORY}/blobs/uploads/", first))
    assert wanted["scope"] == f"repository:{REPOSITORY}:pull,push"
    bearer = f"Bearer {json.loads(log_in(wanted, admin)[2])['token']}"
    assert push_blob(proxy, REPOSITORY, BLOB, {"Authorization": bearer}) == 201
    status, _, pulled = ask(proxy, "GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}", bearer)
    assert (status, pulled) == (200, BLOB)

    assert ask(proxy, "GET", f"/v2/{REPOSITORY}/blobs/{DIGEST}")[0] == 401
    elsewhere = challenge_of(ask(proxy, "GET", f"/v2/other/app/blobs/{DIGEST}", bearer))
    assert elsewhere["scope"] == "repository:other/app:pull"


def report_of(registry: LocalRegistry, door: str, *words: str) -> dict[str, Any]:
    """Let `moorage doctor` check a door of the registry; it fails nothing and shows no token."""
    run = subprocess.run(
        [MOORAGE, "doctor", registry.ready[door], "--json", "--token-file", "token", *words],
        cwd=registry.folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert token_of(registry) not in run.stdout + run.stderr
    report: dict[str, Any] = json.loads(run.stdout)
    return report


def check_doctor(registry: LocalRegistry) -> None:
    """With length 0 on every HEAD, each check passes; the proxy hides nothing of that."""
    report = report_of(registry, "gateway")
    found = {check["name"]: check["status"] for check in report["checks"]}
    edge = {"edge-put": "skip", "edge-get": "skip"}  # the gateway has none before it
    assert found == {check.name: "ok" for check in CHECKS} | edge
    assert report["head_strategy"] == "redirect"
    assert (report["url"], report["ok"]) == (registry.ready["gateway"], True)
    assert report["seen"]["largest_body_bytes"] == 4_700_000
    assert report["seen"]["gateway_counts_head"] is False
    heads = (*("--only", "head-strategy"), *("--only", "manifest-head"))
    report = report_of(registry, "proxy", *heads)
    assert {check["status"] for check in report["checks"]} == {"ok"}
    assert report["head_strategy"] == "redirect"
    assert report["seen"]["gateway_counts_head"] is False


def test_the_checkout_holds_the_app() -> None:
    """Children run where app.py and infra/ are."""
    assert (PROJECT / "app.py").exists()
    assert (PROJECT / "infra" / "data.yaml").exists()
