"""`moorage deploy`: creates a registry in an AWS account, or updates it.

Data, the signing key, API tokens, and every option that isn't given again stay as they are. This
module must never create a second key or admin, nor show a token twice.
"""

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from chalicelib.access.credentials import generate
from chalicelib.settings import REGION_FILE
from moorage.access import admin as access_admin
from moorage.access import edge_keys, signing_key
from moorage.common.aws import AWS_ERRORS, explained
from moorage.common.errors import CommandError
from moorage.common.project import DATA_TEMPLATE, OBSERVABILITY_TEMPLATE, load_template
from moorage.common.secret_file import placed
from moorage.deploy import DeployError
from moorage.deploy import data as deploy_data
from moorage.deploy import texts as deploy_texts
from moorage.deploy.account import Account, StageNames
from moorage.deploy.bucket import free_of_policy, upload, upload_template
from moorage.deploy.build import build
from moorage.deploy.edge import Front, api_host, edge_host
from moorage.deploy.networks import names_region, region_networks
from moorage.deploy.package import PACKAGE_BUCKET, Package, read_package
from moorage.deploy.stacks import Stack, Stacks, WantedStack

NONE: Final = "none"
"""The value that empties an option. Without a value it stays as it is."""

_OWNER: Final = "moorage deploy"
RIGHTS: Final = (
    "`moorage deploy --print-policy` prints what a deployment needs; ask who manages the account"
)
_DIGEST_CHARACTERS: Final = 32
_ENOUGH_FUNCTIONS: Final = 100
"""Functions that should be able to run at once: one docker pull keeps about ten busy."""
_URL: Final = "PublicUrl"
_DISTRIBUTION: Final = "EdgeDistribution"
_DIRECT_FROM: Final = "DirectFrom"
_CORS: Final = "CorsOrigins"
_HEAD: Final = "HeadStrategy"
_MEASURE_WAITS: Final = (2, 4, 8, 16)
"""Seconds between tries to measure: a new API's name and methods take a while to be known."""
_MEASURE_SECONDS: Final = 60.0
"""After which no try begins: a network that answers nothing would hold the command for minutes."""
Measure = Callable[[str], str]
"""Find the HEAD strategy that is right for a gateway at a URL; raises CommandError."""


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What to deploy. `parameters`: those of the API's template that are given."""

    stage: str
    package: Path | None = None
    """The folder of a package; None: build one."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    bucket: str | None = None
    """Where to upload packages; None: unchanged, and at first the stage's own bucket."""
    admin_token_file: Path | None = None
    observability: bool | None = None
    """Whether to have the stack of alarms; None: update it if it exists."""
    watching: Mapping[str, str] = field(default_factory=dict)
    """The parameters of its template that are given."""
    edge: bool | None = None
    """Whether to have the edge's stack; None: a new registry has it, another one what it had."""


@dataclass(frozen=True)
class Deployment:
    """One run of the command, in an account."""

    names: StageNames
    account: Account
    stacks: Stacks
    echo: Callable[[str], None]
    measure: Measure | None = None
    """None: the HEAD strategy stays as it is."""

    def run(self, options: DeployOptions) -> deploy_texts.DeployResult:
        """Deploy; raises DeployError, OSError, and what AWS raises."""
        before = self._standing(self.names.api_stack)
        bucket = self._package_bucket(before, options.bucket)
        edge = self._standing(self.names.edge_stack)
        given = _emptied(options.parameters)
        front = Front.of(options.edge, before, edge, given, self.account)
        host = edge_host(edge) if front.edge else api_host(before)
        parameters = _parameters(self.names, before, given, front, front.url(host))
        watched = self._watched(options)
        near = parameters.get(_DIRECT_FROM, "")
        networks = region_networks(self.account.region) if names_region(near) else None
        package = self._package(options.package)
        if networks is not None:
            package = package.with_file(f"chalicelib/{REGION_FILE.name}", networks)
        self._look_at_quota()
        if not front.edge:
            # First, for the API's stack may make a record of the same domain.
            self.stacks.delete(self.names.edge_stack)
        data = self.stacks.put(self._data(None if front.edge else ""))
        if signing_key.ensure(self.account.client("ssm"), self.names.signing_key):
            self.echo(f"{self.names.signing_key}: created the key that signs tokens")
        place = self._upload(package, bucket)
        put = partial(self._put_api, package, place)
        stack = put(parameters)
        target = stack.outputs.get("DomainTarget")
        host = api_host(stack)
        if front.edge:
            host = target = self._put_edge(front.wanted(self.names, stack, edge), data)
        # A template can't name its own API, nor its edge: after the first creation each is known.
        url = front.url(host)
        if url != parameters[_URL]:
            self.echo(f"{self.names.api_stack}: setting its address, {url}")
            stack = put({**stack.parameters, _URL: url})
        strategy = None if _HEAD in options.parameters else self._measured(stack)
        if strategy not in {None, stack.parameters.get(_HEAD)}:
            self.echo(f"{self.names.api_stack}: HEAD_STRATEGY={strategy} is right there")
            stack = put({**stack.parameters, _HEAD: str(strategy)})
        if watched:
            self.stacks.put(self._observability(options.watching))
        elif options.observability is False:
            self.stacks.delete(self.names.observability_stack)
        token = self._put_access(data.outputs["AccessTableName"], options.admin_token_file)
        return deploy_texts.DeployResult(
            url=url,
            data_stack=self.names.data_stack,
            signing_key=self.names.signing_key,
            token=token,
            token_file=options.admin_token_file,
            domain_target=target if front.domain and not front.zone else None,
            edge=front.edge,
        )

    def _package(self, folder: Path | None) -> Package:
        if folder is not None:
            return read_package(folder)
        self.echo("packaging the code (this takes a while)")
        with tempfile.TemporaryDirectory(prefix="moorage-package-") as name:
            return build(Path(name))

    def _package_bucket(self, before: Stack | None, given: str | None) -> str:
        """Return the bucket of packages: the given one, else the last one, else the stage's own.

        Raises DeployError for a name with dots: S3's certificate covers no such host.
        """
        if given is not None and "." in given:
            raise DeployError(
                f"DEPLOY_BUCKET can't be {given}: a bucket whose name has dots has no host with a"
                " certificate; name one without"
            )
        if given is None and before is not None:
            given = before.outputs.get(PACKAGE_BUCKET)
        return self.names.code_bucket(self.account) if given in {None, NONE} else str(given)

    def _upload(self, package: Package, bucket: str) -> tuple[str, str]:
        """Upload a package; return the bucket and the key."""
        own = bucket == self.names.code_bucket(self.account)
        key = f"{self.names.api_stack}/{package.digest[:_DIGEST_CHARACTERS]}.zip"
        self.echo(f"{bucket}: uploading the code, {len(package.code) / 1e6:.1f} MB")
        upload(self.account, bucket, key, package.code, own=own)
        return bucket, key

    def _put_api(
        self, package: Package, place: tuple[str, str], wanted: Mapping[str, str]
    ) -> Stack:
        bucket, _ = place
        template = package.placed(*place, wanted[_URL], cors=bool(wanted.get(_CORS)))
        # An older or newer template's parameters can't be passed to this one.
        known = {name: wanted[name] for name in template["Parameters"] if name in wanted}
        name, tags = self.names.api_stack, self.names.tags
        upload = partial(upload_template, self.account, bucket, name)
        return self.stacks.put(WantedStack(name, template, known, tags, upload=upload))

    def _put_edge(self, wanted: WantedStack, data: Stack) -> str:
        """Deploy the edge, let the bucket and its function know what they must; return its host."""
        edge = self.stacks.put(wanted)
        distribution = edge.outputs["DistributionId"]
        if data.parameters.get(_DISTRIBUTION) != distribution:
            self.stacks.put(self._data(distribution))
        keys = signing_key.read(self.account.client("ssm"), self.names.signing_key).keys
        store = self.account.client("cloudfront-keyvaluestore")
        if edge_keys.store(store, edge.outputs["StoreArn"], keys):
            self.echo(f"{wanted.name}: stored the keys by which the edge knows what the API signed")
        return edge_host(edge)

    def _measured(self, stack: Stack) -> str | None:
        """Return the HEAD strategy that is right for the gateway; None if it is not to be known.

        At AWS's own name: the domain's record may not exist yet, and leads to the same gateway.
        """
        if self.measure is None:
            return None
        url, began = f"https://{api_host(stack)}", time.monotonic()
        for seconds in (*_MEASURE_WAITS, None):
            try:
                return self.measure(url)
            except CommandError as error:
                reason = error
            if seconds is None or time.monotonic() - began > _MEASURE_SECONDS:
                break
            time.sleep(seconds)
        self.echo(
            f"warning: what the gateway does with a HEAD can't be measured at {url} ({reason}):"
            f" HEAD_STRATEGY stays {stack.parameters.get(_HEAD)}; `moorage doctor` says which is"
            " right"
        )
        return None

    def _data(self, distribution: str | None) -> WantedStack:
        """Return the data stack; None leaves the distribution that its bucket lets in."""
        template = load_template(DATA_TEMPLATE)
        name = self.names.data_stack
        given = {} if distribution is None else {_DISTRIBUTION: distribution}
        parameters = self._kept(name, template, given)
        # The template's own names, in the form by which CloudFormation imports what exists.
        named = deploy_data.resources(template, name, self.account, parameters)
        if self._standing(name) is None:
            for each in named:
                if each.kind == deploy_data.BUCKET and free_of_policy(self.account, each.name):
                    self.echo(f"{each.name}: a stack left it behind, and it is used again")
        template = deploy_data.with_plain_names(template, named)
        return WantedStack(name, template, parameters, self.names.tags, keeps_data=True)

    def _look_at_quota(self) -> None:
        """Warn of an account that runs few functions at once, if this login may see that."""
        with contextlib.suppress(*AWS_ERRORS):
            settings = self.account.client("lambda").get_account_settings()
            limit = int(settings["AccountLimit"]["ConcurrentExecutions"])
            if limit < _ENOUGH_FUNCTIONS:
                self.echo(
                    f"warning: Lambda runs only {limit} functions at once in this account and"
                    " region, and clients beyond that have to try again: ask AWS for more (Service"
                    " Quotas, Lambda, Concurrent executions; 1000 is usual)"
                )

    def _standing(self, name: str) -> Stack | None:
        stack = self.stacks.find(name)
        return stack if stack is not None and stack.was_created else None

    def _watched(self, options: DeployOptions) -> bool:
        """Return whether to have the stack of alarms; raises DeployError for a contradiction."""
        watched = options.observability
        if watched is None:
            watched = self._standing(self.names.observability_stack) is not None
        if options.watching and not watched:
            raise DeployError(
                "there is no dashboard and no alarm to change: give OBSERVABILITY=1 too"
                " (docs/observability.md has its price)"
            )
        return watched

    def _observability(self, given: Mapping[str, str]) -> WantedStack:
        name = self.names.observability_stack
        template = load_template(OBSERVABILITY_TEMPLATE)
        fixed = {
            "ApiStack": self.names.api_stack,
            "DataStack": self.names.data_stack,
            "Service": self.names.api_stack,
        }
        parameters = self._kept(name, template, {**_emptied(given), **fixed})
        return WantedStack(name, template, parameters, self.names.tags)

    def _kept(
        self, name: str, template: Mapping[str, Any], given: Mapping[str, str]
    ) -> Mapping[str, str]:
        """Return a stack's present parameters, changed by those that are given."""
        before = self._standing(name)
        parameters = {**({} if before is None else before.parameters), **given}
        return {each: parameters[each] for each in template["Parameters"] if each in parameters}

    def _put_access(self, table: str, token_file: Path | None) -> str | None:
        """Create an admin's API token if there is no API token at all; return it.

        What version 0.1 stored is moved: the functions, which are new by now, read it either way.
        """
        store = access_admin.open_store(self.account.client("dynamodb"), table)
        if moved := store.move():
            self.echo(f"{table}: moved {moved} items of version 0.1 to keys of their own")
        if access_admin.credentials(store):
            return None
        token = generate()
        # The file first: an admin whose token nobody has is useless, and a risk.
        with placed(token_file, token):
            access_admin.create_admin(store, token, _OWNER, time.time())
        return token


def deploy(
    options: DeployOptions, environment: Mapping[str, str], measure: Measure | None = None
) -> deploy_texts.DeployResult:
    """Deploy to the account that the user's AWS settings name; raises DeployError, OSError.

    `measure` finds the HEAD strategy at the end, unless the options have it; None: it stays.
    """
    names = StageNames.of(options.stage)
    with explained(kind=DeployError, rights=RIGHTS):
        account = Account.of(environment)
        say(f"deploying {names.api_stack} to account {account.id}, region {account.region}")
        stacks = Stacks(account.client("cloudformation"), say)
        return Deployment(names, account, stacks, say, measure).run(options)


def say(line: str) -> None:
    """Print a line of progress."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parameters(
    names: StageNames, before: Stack | None, given: Mapping[str, str], front: Front, url: str
) -> Mapping[str, str]:
    """Return the parameters of the API's stack: present, given and fixed ones."""
    present = before.parameters if before is not None else {}
    fixed = {"DataStack": names.data_stack, "SigningKeyParameter": names.signing_key, _URL: url}
    return {**present, **given, **front.of_api(), **fixed}


def _emptied(given: Mapping[str, str]) -> dict[str, str]:
    return {name: "" if value == NONE else value for name, value in given.items()}
