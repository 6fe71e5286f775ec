"""Chalice's zip after `moorage.deploy.build`: compiled, with an SDK cut down to what is called."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.util
import os
import shutil
import uuid
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError, UnknownServiceError
from botocore.loaders import Loader
from botocore.session import Session
from urllib3.exceptions import LocationParseError
from urllib3.util.url import parse_url

from chalicelib.stores.dynamodb.client import dynamodb_config
from chalicelib.stores.s3.objects import s3_config
from moorage.deploy import DeployError, build
from moorage.deploy.package import CODE
from moorage.deploy.trim_sdk import OPERATIONS, WITH_PATTERNS, cut, shed
from tests.emulators.lost_answers import aws_answer
from tests.infra.runtime import function_environment, run_bare

if TYPE_CHECKING:
    from pathlib import Path

    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from botocore.model import Shape

CONFIGS = {"s3": s3_config(), "dynamodb": dynamodb_config()}
REGIONS = ("us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1")
OF_ONE_SENDING = {"Authorization", "X-Amz-Date", "User-Agent"}
UNCHECKED_HASH = (0b01).to_bytes(4, "little")


EMPTIED = (
    "aws_lambda_powertools",
    "aws_lambda_powertools/utilities/jmespath_utils",
    "botocore/docs",
    "urllib3/http2",
)
URLS = (
    "http://127.0.0.1:5000/a%2fb?c=d%zz#e",
    "https://[fe80::1%25eth0]:443/",
    "https://[::FFFF:1.2.3.4]/a b",
    "HTTPS://user:pass@Bucket.S3.Example.COM",
    "//host/path/../other",
    "/only/a/path",
    "http://host:65536",
    "http://[::1",
    "http://a b/",
    "",
)


@pytest.fixture(scope="module")
def whole() -> Loader:
    """A loader of all of botocore's data."""
    return Loader()


@pytest.fixture(scope="module")
def small(task: Path) -> Loader:
    """A loader of the zip's data alone."""
    path = str(task / "botocore" / "data")
    return Loader(extra_search_paths=[path], include_default_search_paths=False)


@functools.cache
def client(loader: Loader, service: str, region: str) -> Any:  # noqa: ANN401 - made at run time
    """Return a client made from a loader's data."""
    session = Session()
    session.register_component("data_loader", loader)
    session.set_credentials("AKIDEXAMPLE", "not-a-secret")
    return session.create_client(service, region, config=CONFIGS.get(service))


def outcome(client: Any, operation: str, parameters: dict[str, Any]) -> object:  # noqa: ANN401 - likewise
    """Return the request that a call sends, or the error for which it sends none."""
    sent: list[object] = []

    def keep(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        headers = {n: v for n, v in request.headers.items() if n not in OF_ONE_SENDING}
        kept = {name: v for name, v in headers.items() if not name.startswith("amz-sdk-")}
        body: Any = request.body
        whole = body.read() if hasattr(body, "read") else body
        sent.append((request.method, request.url, kept, whole))
        return aws_answer(request.url, 200)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=1))  # a token of each sending
    client.meta.events.register_first("before-send", keep)
    names = {api: name for name, api in client.meta.method_to_api_mapping.items()}
    try:
        getattr(client, names[operation])(**parameters)
    except (BotoCoreError, ClientError) as error:
        return sent or str(error)
    finally:
        client.meta.events.unregister("before-send", keep)
        monkeypatch.undo()
    return sent


def sample(shape: Shape, *, required_only: bool, depth: int = 6) -> Any:  # noqa: ANN401 - any value
    """Return a value of a shape, with all members or the required ones."""
    known: Any = shape
    if shape.type_name == "structure":
        names = known.required_members if required_only else known.members
        members = {name: known.members[name] for name in names}
        ending = {"list", "map"} if depth <= 0 else set()
        return {
            name: sample(member, required_only=required_only, depth=depth - 1)
            for name, member in members.items()
            if member.type_name not in ending
        }
    if shape.type_name == "list":
        return [sample(known.member, required_only=required_only, depth=depth - 1)]
    if shape.type_name == "map":
        return {"name": sample(known.value, required_only=required_only, depth=depth - 1)}
    plain = {
        "blob": b"bytes",
        "boolean": True,
        "timestamp": dt.datetime(2026, 11, 29, tzinfo=dt.UTC),
        "string": next(iter(shape.metadata.get("enum", [])), "a-name"),
    }
    return plain.get(shape.type_name, 1)


@pytest.mark.parametrize(
    ("service", "operation"),
    [(service, each) for service, names in OPERATIONS.items() for each in sorted(names)],
)
def test_calls_with_the_cut_sdk_are_the_same(
    whole: Loader, small: Loader, service: str, operation: str
) -> None:
    """Method, URL, headers and body, or the error."""
    for region in REGIONS:
        clients = [client(loader, service, region) for loader in (whole, small)]
        shape = clients[0].meta.service_model.operation_model(operation).input_shape
        few, many = sample(shape, required_only=True), sample(shape, required_only=False)
        sent = [outcome(each, operation, few) for each in clients]
        assert isinstance(sent[0], list)
        assert sent[0] == sent[1]
        sent = [outcome(each, operation, many) for each in clients]
        assert sent[0]
        assert sent[0] == sent[1]
        wrong = [outcome(each, operation, {**few, "Nonsense": 1}) for each in clients]
        assert "Nonsense" in str(wrong[0])
        assert wrong[0] == wrong[1]


def test_the_cut_sdk_knows_no_other_service_or_operation(small: Loader) -> None:
    """Reading them would take the time that is saved."""
    assert set(small.list_available_services("service-2")) == set(OPERATIONS)
    with pytest.raises(UnknownServiceError):
        client(small, "ec2", "us-east-1")
    for service, operations in OPERATIONS.items():
        known = client(small, service, "us-east-1").meta.service_model.operation_names
        assert set(known) == operations


def test_a_changed_botocore_is_an_error(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved files or a renamed operation: there is no package."""
    with pytest.raises(DeployError, match="did botocore's layout change"):
        cut(tmp_path)
    shutil.copytree(task / "botocore" / "data", tmp_path / "data")
    monkeypatch.setitem(OPERATIONS, "s3", OPERATIONS["s3"] | {"RenamedObject"})
    with pytest.raises(DeployError, match="botocore's s3 has no RenamedObject"):
        cut(tmp_path / "data")


def test_no_function_loads_what_writes_documentation_or_speaks_http_2(task: Path) -> None:
    """Clients are made and closed without; the modules that name it find something empty."""
    program = (
        "import sys, app\n"
        "from chalicelib.stores.aws import clients\n"
        "for name in ('s3', 'dynamodb', 'lambda', 'ssm'):\n"
        "    clients.client(name).meta\n"
        "print(*sorted(sys.modules))\n"
    )
    done = run_bare(program, function_environment((task,)), cwd=task)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"botocore.docs.docstring", "urllib3.http2.probe"} <= loaded
    assert not {"botocore.docs.service", "html.parser", "importlib.metadata"} & loaded


def test_an_sdk_of_another_layout_is_an_error(tmp_path: Path) -> None:
    """The module that is missing, or does nothing that could be left out, is in the message."""
    with pytest.raises(DeployError, match=r"__init__\.py is missing: did the SDK's layout change"):
        shed(tmp_path)
    for package in EMPTIED:
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text("import os\n")
    (tmp_path / "botocore" / "docs" / "docstring.py").touch()
    (tmp_path / "dateutil" / "parser").mkdir(parents=True)
    (tmp_path / "dateutil" / "parser" / "__init__.py").touch()
    (tmp_path / "botocore" / "compat.py").write_text("import os\nimport re\n")
    with pytest.raises(DeployError, match=r"compat\.py has nothing to leave out: did the SDK's"):
        shed(tmp_path)


def test_the_sdk_compiles_no_pattern_and_reads_no_dates_while_it_loads(task: Path) -> None:
    """Its modules are what they were, with their patterns to be compiled at their first use."""
    names = [name.removesuffix(".py").replace("/", ".") for name in WITH_PATTERNS]
    program = (
        "import importlib, re, sys\n"
        f"modules = [importlib.import_module(name) for name in {names!r}]\n"
        "def scopes(module):\n"
        "    return [module, *(each for each in vars(module).values() if isinstance(each, type))]\n"
        "def compiled(module):\n"
        "    every = [each for scope in scopes(module) for each in vars(scope).items()]\n"
        "    return [name for name, each in every if isinstance(each, re.Pattern)]\n"
        "dates = 'dateutil.parser._parser' in sys.modules\n"
        "print([compiled(module) for module in modules], dates)\n"
        "from botocore.utils import is_valid_ipv6_endpoint_url as valid, parse_timestamp\n"
        "print(valid('http://[::1]:80'), valid('http://127.0.0.1:80'))\n"
        "print(parse_timestamp('Tue, 01 Dec 2026 04:00:00 GMT').isoformat())\n"
    )
    done = run_bare(program, function_environment((task,)), cwd=task)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"{[[] for _ in names]} False",
        "True False",
        "2026-12-01T04:00:00+00:00",
    ]


def test_urls_are_parsed_by_patterns_that_are_compiled_late(task: Path) -> None:
    """urllib3 in the package answers as the whole one does, and compiled nothing before."""
    program = (
        "import re\n"
        "from urllib3.util import url\n"
        "def outcome(text):\n"
        "    try:\n"
        "        return tuple(url.parse_url(text))\n"
        "    except Exception as error:\n"
        "        return repr(error)\n"
        "print([name for name, each in vars(url).items() if isinstance(each, re.Pattern)])\n"
        f"print([outcome(text) for text in {URLS!r}])\n"
    )
    done = run_bare(program, function_environment((task,)), cwd=task)
    assert done.returncode == 0, done.stderr
    compiled, parsed = done.stdout.splitlines()
    assert compiled == "[]"
    assert parsed == repr([_parsed(text) for text in URLS])


def _parsed(url: str) -> object:
    try:
        return tuple(parse_url(url))
    except LocationParseError as error:
        return repr(error)


def test_a_missing_folder_to_leave_out_is_an_error(task: Path, tmp_path: Path) -> None:
    """The zip stays as Chalice left it."""
    with zipfile.ZipFile(tmp_path / CODE, "w") as archive:
        archive.write(task / "app.py", "app.py")
    before = (tmp_path / CODE).read_bytes()
    with pytest.raises(DeployError, match="event_handler"):
        build.finish(tmp_path)
    assert (tmp_path / CODE).read_bytes() == before


def test_a_chalice_that_packages_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command prints Chalice's output and fails; an empty folder is an error too."""
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(tmp_path))):
        monkeypatch.setenv(name, value)
    assert build.main([str(tmp_path / "package")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("moorage: Chalice can't package the functions: ")
    assert "Could not satisfy the requirement" in shown
    with pytest.raises(DeployError, match="Chalice left no package"):
        build.finish(tmp_path)


def test_every_module_of_a_first_request_has_bytecode(task: Path, tmp_path: Path) -> None:
    """It is used whatever the dates of the files are."""
    program = (
        "import importlib.machinery, os, sys\n"
        "def compiling(self, data, path, **_):\n"
        "    raise AssertionError(f'{path} has to be compiled')\n"
        "importlib.machinery.SourceFileLoader.source_to_code = compiling\n"
        "import app, jwt, cryptography.hazmat.primitives.asymmetric.rsa\n"
        "from chalicelib.wiring import access, registry as wiring\n"
        "from chalicelib.api import blobs, lists, manifests, token, uploads\n"
        "from chalicelib.telemetry import metrics, tracing\n"
        "wiring.registry().sweeper, wiring.registry().lists\n"
    )
    code = tmp_path / "task"
    shutil.copytree(task, code, copy_function=shutil.copyfile)

    environment = function_environment((code,), AWS_LAMBDA_FUNCTION_NAME="a-function")
    load = functools.partial(run_bare, program, environment, cwd=code)
    done = load()
    assert done.returncode == 0, done.stderr
    (bytecode,) = (code / "chalicelib" / "__pycache__").glob("digest.*.pyc")
    head = bytecode.read_bytes()[:8]
    assert head == importlib.util.MAGIC_NUMBER + UNCHECKED_HASH
    bytecode.unlink()
    assert "digest.py has to be compiled" in load().stderr


def test_modules_are_left_uncompiled_by_their_place_in_the_package(tmp_path: Path) -> None:
    """The path of the folder in which the code is compiled makes no difference."""
    code = tmp_path / "cffi"
    for name in ("chalicelib", "cffi", "aws_lambda_powertools/utilities/batch"):
        (code / name).mkdir(parents=True)
        (code / name / "module.py").write_text("", encoding="utf-8")
    build.compile_all(code)
    (compiled,) = code.rglob("*.pyc")
    assert compiled.parts[-3] == "chalicelib"


def test_the_same_code_is_the_same_zip(package: Path, tmp_path: Path) -> None:
    """A deployment without changes uploads nothing: not even bytecode differs."""
    folder = tmp_path / "code"
    with zipfile.ZipFile(package / CODE) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = [name for name in archive.namelist() if name.startswith(("chalice", "jwt/"))]
        for name in names:
            if not name.endswith(".pyc"):
                archive.extract(name, folder)
        build.compile_all(folder)
        for again in ("one.zip", "other.zip"):
            build.write_zip(folder, tmp_path / again)
            for path in folder.rglob("*"):
                os.utime(path, (0, 0))
        with zipfile.ZipFile(tmp_path / "one.zip") as made:
            assert {n: made.read(n) for n in names} == {n: archive.read(n) for n in names}
            assert made.namelist() == names
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
