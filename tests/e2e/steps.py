"""What a person does with a deployment, step by step, and what must be true after each step.

The steps need each other, in their order: the first that fails ends the run.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
import time
import uuid
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from chalicelib.stores.aws.workers import stretch_event
from moorage.common.project import EDGE_FUNCTION, PROJECT
from moorage.local import children
from tests.clients import images
from tests.clients.contents import Contents, read_layout
from tests.e2e import arm64
from tests.e2e.cloud import (
    ACCOUNT,
    CODE_BUCKET,
    DATA_BUCKET,
    DEPLOYER_POLICY,
    DOMAIN,
    NAMES,
    REGION,
    Cloud,
    plain_environment,
    wait_for,
)
from tests.e2e.leftovers import leftovers
from tests.e2e.patched_ministack import API_IDS, DENIED
from tests.support.moorage_command import TOKEN
from tests.support.parted import parted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PROXY_PORT: Final = 5000
REPOSITORY: Final = "demo/app"
_SECONDS: Final = 300
_PROXY: Final = f"127.0.0.1:{PROXY_PORT}"
# By tag, the bytes of an image's layers: answered inline, answered by S3, pushed in chunks.
_IMAGES: Final = {"gateway": (300_000, 2_000_000), "proxy": (300_000, 12_000_000)}


# What EventBridge sends to the sweep function.
_HOURLY: Final = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": ACCOUNT,
    "time": "2026-01-01T00:00:00Z",
    "region": REGION,
    "resources": [f"arn:aws:events:{REGION}:{ACCOUNT}:rule/sweep"],
    "detail": {},
}


class StepError(Exception):
    """A step that went wrong; the message says how."""


@dataclass
class Deployment:
    """The deployment under test. `wheels`: what its package is made from."""

    cloud: Cloud
    folder: Path
    wheels: Path
    log: Path
    environment: dict[str, str] = field(init=False)
    layouts: dict[str, Path] = field(init=False)
    """The images that are pushed, by their tags."""
    before: set[str] = field(init=False)
    """What the account holds without it: the deployer's policy."""
    creations: int = 0
    """The number of APIs that were created so far."""

    def __post_init__(self) -> None:
        self.environment = {
            **plain_environment(self.folder, self.cloud.authority),
            **self.cloud.user("deployer", DEPLOYER_POLICY),
            # The requirements, which were downloaded before: there is no way out from here.
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self.layouts = {
            name: _image(self.folder / f"image-{name}", sizes) for name, sizes in _IMAGES.items()
        }

        self.before = leftovers(self.cloud)

    @property
    def host(self) -> str:
        """The host of the API that stands now."""
        return f"{API_IDS[self.creations - 1]}.execute-api.{DOMAIN}"

    @property
    def url(self) -> str:
        """Its URL."""
        return f"https://{self.host}"

    @property
    def token_file(self) -> Path:
        """The file of the first admin's API token."""
        return self.folder / "token"

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the API's stack."""
        (stack,) = self.cloud.client("cloudformation").describe_stacks(StackName=NAMES.api_stack)[
            "Stacks"
        ]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    def denied(self) -> list[str]:
        """Return what AWS denied so far."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if DENIED in line]

    def moorage(self, *words: str, status: int = 0, **variables: str) -> str:
        """Run the command of the checkout; return what it said. Raises StepError."""
        return self.run(sys.executable, "-m", "moorage", *words, status=status, **variables)

    def run(self, *command: str | Path, status: int = 0, **variables: str) -> str:
        """Run a program to its end; return what it said. Raises StepError for another status."""
        words = [str(word) for word in command]
        begun = time.monotonic()
        done = subprocess.run(
            words,
            cwd=PROJECT,
            env=self.environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        self.note(f"$ {shlex.join(words)}\n{done.stdout}({time.monotonic() - begun:.1f} s)\n")
        if done.returncode != status:
            raise StepError(
                f"exit status {done.returncode}, not {status}: {shlex.join(words)}\n{done.stdout}"
            )
        return done.stdout

    def note(self, text: str) -> None:
        """Write into the log, without API tokens."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(TOKEN.sub("(a token)", text))

    def push(self, host: str, tag: str) -> None:
        """Push the image by skopeo, as admin."""
        credentials = f"--dest-creds=admin:{self.token_file.read_text(encoding='ascii').strip()}"
        self._copy(
            credentials, "dest", host, f"oci:{self.layouts[tag]}:{images.TAG}", _name(host, tag)
        )

    def pull(self, host: str, tag: str, *, anonymous: bool = False, status: int = 0) -> Contents:
        """Pull an image by skopeo, as admin or as nobody; return what came."""
        token = self.token_file.read_text(encoding="ascii").strip()
        credentials = "--src-no-creds" if anonymous else f"--src-creds=admin:{token}"
        into = self.folder / f"pulled-{uuid.uuid4().hex}"
        target = f"oci:{into}:{images.TAG}"
        self._copy(credentials, "src", host, _name(host, tag), target, status=status)
        return read_layout(into) if status == 0 else Contents("", ())

    def must_pull(self, host: str, tag: str, *, anonymous: bool = False) -> None:
        """Pull an image; raises StepError unless it is the one that was pushed."""
        pulled = self.pull(host, tag, anonymous=anonymous)
        if pulled != read_layout(self.layouts[tag]):
            raise StepError(f"what was pulled is not what was pushed: {pulled}")

    def _copy(  # noqa: PLR0913 - the words of one command
        self, credentials: str, side: str, host: str, source: str, target: str, *, status: int = 0
    ) -> None:
        plain = [f"--{side}-tls-verify=false"] if host == _PROXY else []
        words = ["skopeo", "--insecure-policy", "copy", "--all", "--preserve-digests"]
        self.run(*words, credentials, *plain, source, target, status=status)

    @contextmanager
    def proxy(self) -> Iterator[None]:
        """Run the push proxy until the block ends."""
        child = children.start(
            "proxy",
            (sys.executable, "-m", "moorage", "proxy", "--upstream", self.url),
            self.environment,
            echo=lambda line: self.note(f"{line}\n"),
        )
        try:
            wait_for(child, PROXY_PORT)
            yield
        finally:
            child.stop()


def _image(layout: Path, sizes: Sequence[int]) -> Path:
    """Make an image of layers of so many random bytes."""
    layout.mkdir()
    layers = []
    for size in sizes:
        fill = partial(images.add_file, name="data", content=os.urandom(size))
        layers.append(images.write_layer(layout, fill, compress=False))
    return images.finish_layout(layout, images.write_manifest(layout, layers))


def _name(host: str, tag: str) -> str:
    return f"docker://{host}/{REPOSITORY}:{tag}"


def _expect(text: str, *parts: str) -> None:
    missing = [part for part in parts if part not in text]
    if missing:
        raise StepError(f"this was not said: {missing}; but:\n{text}")


def _expect_kinds(deployment: Deployment, kinds: set[str]) -> None:
    left = leftovers(deployment.cloud) - deployment.before
    if {each.partition(" ")[0] for each in left} != kinds:
        raise StepError(f"this was left: {sorted(left)}")


def deploy(deployment: Deployment) -> None:
    """`moorage deploy` creates a registry, and hands over the first API token."""
    deployment.creations += 1
    said = deployment.moorage(
        *("deploy", "--stage", NAMES.stage, "--edge", "no"),
        *("--admin-token-file", str(deployment.token_file)),
    )
    _expect(said, f"The registry is at {deployment.url}/v2/", str(deployment.token_file))


def package_on_arm64(deployment: Deployment) -> None:
    """The package that was uploaded works on Lambda's processor."""
    s3 = deployment.cloud.client("s3")
    stored = s3.list_objects_v2(Bucket=CODE_BUCKET)["Contents"]
    # Beside it may be a template that is too long for a request.
    (listed,) = (each for each in stored if each["Key"].endswith(".zip"))
    code = s3.get_object(Bucket=CODE_BUCKET, Key=listed["Key"])["Body"].read()
    task = deployment.folder / "task"
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        archive.extractall(task)
    deployment.note(arm64.probe(task, {"PATH": deployment.environment["PATH"]}) + "\n")


def doctor(deployment: Deployment) -> None:
    """`moorage doctor` finds nothing wrong."""
    said = deployment.moorage(
        *("doctor", deployment.url, "--large", "--token-file", str(deployment.token_file))
    )
    if "WARN" in said:
        raise StepError(said)


def background(deployment: Deployment) -> None:
    """The functions that nobody asks by HTTP run with their own rights."""
    functions = deployment.cloud.client("lambda")
    outputs = deployment.outputs()
    # A direct upload that is not there: the verify function may look, and says so.
    absent = parted(b"x").stretch(f"direct/{uuid.uuid4()}/parts", '"none"')
    for name, event, expected in (
        ("Sweep", _HOURLY, "null"),
        ("Collect", _HOURLY, "null"),
        ("Commit", {"session": str(uuid.uuid4())}, "null"),
        ("Verify", stretch_event(absent), '{"lost":'),
    ):
        done = functions.invoke(
            FunctionName=outputs[f"{name}FunctionName"], Payload=json.dumps(event).encode()
        )
        answer = done["Payload"].read().decode()
        if done.get("FunctionError") or not answer.startswith(expected):
            raise StepError(f"{name} answered {answer}")


def rights(deployment: Deployment) -> None:
    """Every function wrote its lines; nobody asked AWS for anything that a policy lacks."""
    logged = deployment.cloud.client("logs")
    for function in ("api", "authorizer", "commit", "verify", "sweep", "collect"):
        group = f"/aws/lambda/{NAMES.api_stack}-{function}"
        pages = logged.get_paginator("filter_log_events").paginate(logGroupName=group)
        lines = [event["message"].strip() for page in pages for event in page["events"]]
        deployment.note("".join(f"{function}: {line}\n" for line in lines))
        told = [json.loads(line) for line in lines if line.startswith("{")]
        faults = [line for line in told if line["level"] in {"ERROR", "CRITICAL"}]
        if not told or faults:
            raise StepError(f"{function} logged {faults or 'nothing'}")
    if denied := deployment.denied():
        raise StepError("\n".join(denied))


def stranger(deployment: Deployment) -> None:
    """Somebody with no rights can take nothing down, and is told so."""
    keys = deployment.cloud.user("stranger")
    said = deployment.moorage(
        *("destroy", "--stage", NAMES.stage, "--data", "delete", "--confirm", NAMES.data_stack),
        status=1,
        **keys,
    )
    _expect(said, "cloudformation:DescribeStacks")
    if not deployment.denied():
        raise StepError("the emulation denies nothing to anybody")


def push_and_pull(deployment: Deployment) -> None:
    """What skopeo pushes at the gateway or through the proxy, it pulls at both, byte for byte."""
    deployment.push(deployment.host, "gateway")
    with deployment.proxy():
        deployment.push(_PROXY, "proxy")
        for tag in ("gateway", "proxy"):
            for host in (deployment.host, _PROXY):
                deployment.must_pull(host, tag)


def anonymous_pull(deployment: Deployment) -> None:
    """Nobody pulls without a login, until the repository is public."""
    deployment.pull(deployment.host, "proxy", anonymous=True, status=1)
    deployment.moorage("public", REPOSITORY, "--stack", NAMES.data_stack)
    deployment.must_pull(deployment.host, "proxy", anonymous=True)


def redeploy(deployment: Deployment) -> None:
    """A second `moorage deploy` changes nothing, and creates no second admin."""
    said = deployment.moorage("deploy", "--stage", NAMES.stage)
    _expect(said, *(f"{name}: nothing changed" for name in (NAMES.data_stack, NAMES.api_stack)))
    if "API token of admin" in said:
        raise StepError(f"another API token was made:\n{said}")


def edge(deployment: Deployment) -> None:
    """An edge is put before it: the function that is published, its keys, the bucket's policy."""
    # Nothing is sent through it: the emulation's functions have neither keys nor `cf`.
    denied = len(deployment.denied())  # the stranger's
    said = deployment.moorage("deploy", "--stage", NAMES.stage, "--edge", "yes", "--no-measure")
    (stack,) = deployment.cloud.client("cloudformation").describe_stacks(
        StackName=NAMES.edge_stack
    )["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    _expect(said, f"The registry is at https://{outputs['Host']}/v2/")
    front = deployment.cloud.client("cloudfront")
    name = f"{NAMES.edge_stack}-{REGION}"
    code = front.get_function(Name=name, Stage="LIVE")["FunctionCode"].read()
    if code != EDGE_FUNCTION.read_bytes():
        raise StepError("the function that is published is not infra/edge.js")
    policy = deployment.cloud.client("s3").get_bucket_policy(Bucket=DATA_BUCKET)["Policy"]
    _expect(policy, f"distribution/{outputs['DistributionId']}", "EdgePutsBlobs", "EdgeGetsBlobs")
    before = _edge_keys(deployment, outputs["StoreArn"])
    deployment.moorage("key", "rotate", "--force", "--signing-key", NAMES.signing_key)
    after = _edge_keys(deployment, outputs["StoreArn"])
    if after[:1] != before or len(after) != 2:
        raise StepError("key rotate did not store both keys at the edge")
    if len(deployment.denied()) > denied:
        raise StepError("\n".join(deployment.denied()))


def no_edge(deployment: Deployment) -> None:
    """The edge is taken down, and the registry serves as before."""
    said = deployment.moorage("deploy", "--stage", NAMES.stage, "--edge", "no", "--no-measure")
    _expect(said, f"The registry is at {deployment.url}/v2/")
    policy = deployment.cloud.client("s3").get_bucket_policy(Bucket=DATA_BUCKET)["Policy"]
    if "cloudfront" in policy:
        raise StepError(f"the bucket still lets CloudFront in: {policy}")
    listed = deployment.cloud.client("cloudfront").list_distributions()["DistributionList"]
    if listed.get("Items"):
        raise StepError(f"this was left: {listed['Items']}")
    deployment.must_pull(deployment.host, "gateway")


def _edge_keys(deployment: Deployment, store: str) -> list[str]:
    kept = deployment.cloud.client("cloudfront-keyvaluestore").get_key(KvsARN=store, Key="keys")
    return str(kept["Value"]).split()


def destroy(deployment: Deployment) -> None:
    """`moorage destroy` leaves the data, and nothing else."""
    said = deployment.moorage("destroy", "--stage", NAMES.stage)
    _expect(said, f"{NAMES.api_stack} is deleted. Its data is kept in {NAMES.data_stack}")
    _expect_kinds(deployment, {"bucket", "table", "stack", "parameter"})


def deploy_again(deployment: Deployment) -> None:
    """A deployment over what was kept serves the same images to the same API token."""
    deployment.creations += 1
    said = deployment.moorage("deploy", "--stage", NAMES.stage, "--edge", "no")
    _expect(said, f"The registry is at {deployment.url}/v2/")
    deployment.must_pull(deployment.host, "gateway")


def forget(deployment: Deployment) -> None:
    """A data stack that somebody deletes by hand leaves its bucket and tables."""
    deployment.moorage("destroy", "--stage", NAMES.stage)
    stacks = deployment.cloud.client("cloudformation")
    stacks.delete_stack(StackName=NAMES.data_stack)
    stacks.get_waiter("stack_delete_complete").wait(
        StackName=NAMES.data_stack, WaiterConfig={"Delay": 1}
    )
    _expect_kinds(deployment, {"bucket", "table", "parameter"})


def destroy_all(deployment: Deployment) -> None:
    """`moorage destroy --data delete` leaves nothing at all."""
    deployment.moorage(
        *("destroy", "--stage", NAMES.stage, "--data", "delete", "--confirm", NAMES.data_stack)
    )
    _expect_kinds(deployment, set())


STEPS: Final[tuple[Callable[[Deployment], None], ...]] = (
    deploy,
    package_on_arm64,
    doctor,
    push_and_pull,
    anonymous_pull,
    background,
    rights,
    stranger,
    redeploy,
    edge,
    no_edge,
    destroy,
    deploy_again,
    forget,
    deploy_again,
    destroy_all,
)
