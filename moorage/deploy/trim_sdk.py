"""Cuts the SDK down to what the functions call, so that they start sooner.

botocore describes some 400 services. Before its first client it looks for all of them in the file
system; then it reads every operation of the one service, documentation too, and the endpoints of
all. `docs/coldstart.md` has the figures. This module must never change what it keeps: calls are
validated, signed and sent as before.
"""

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from moorage.deploy import DeployError

OPERATIONS: Final = {
    "dynamodb": frozenset(
        {
            "BatchGetItem",
            "DeleteItem",
            "GetItem",
            "PutItem",
            "Query",
            "Scan",
            "TransactWriteItems",
            "UpdateItem",
        }
    ),
    "lambda": frozenset({"Invoke"}),
    "s3": frozenset(
        {
            "AbortMultipartUpload",
            "CompleteMultipartUpload",
            "CopyObject",
            "CreateMultipartUpload",
            "DeleteObjects",
            "GetObject",
            "HeadObject",
            "ListMultipartUploads",
            "ListObjectsV2",
            "ListParts",
            "PutObject",
            "UploadPart",
            "UploadPartCopy",
        }
    ),
    "ssm": frozenset({"GetParameter"}),
}
"""By service, what the functions call; every test fails on a call of anything else."""

_COMMON = ("_retry", "endpoints", "partitions", "sdk-default-configuration")
"""Files that belong to no service."""

_OF_A_SERVICE = ("service-2", "service-2.sdk-extras", "endpoint-rule-set-1")
"""Files that a client needs: no paginators, waiters or examples."""

_UNUSED = (
    "aws_lambda_powertools/__init__.py",
    "aws_lambda_powertools/utilities/jmespath_utils/__init__.py",
    "botocore/docs/__init__.py",
    "urllib3/http2/__init__.py",
)
"""Modules that are loaded, with thirty others, and never used: they stay, and are empty."""

WITH_PATTERNS = (
    "botocore/compat.py",
    "botocore/endpoint_provider.py",
    "botocore/handlers.py",
    "botocore/serialize.py",
    "botocore/utils.py",
    "urllib3/util/url.py",
)
"""Modules that compile patterns when they are loaded, the longest for IPv6 addresses."""

_LATE_PATTERN = """\
import re


class _LatePattern:
    def __init__(self, pattern, flags=0):
        self._source = pattern, flags

    def __getattr__(self, name):
        return getattr(re.compile(*self._source), name)


"""
"""A pattern that is compiled at its first use; `re` remembers it from then on."""

_DOCSTRINGS = "botocore/docs/docstring.py"
"""Builds the docstrings of a client's methods, when somebody reads one."""

_NO_DOCSTRINGS = """\
class ClientMethodDocstring:
    def __init__(self, **_):
        pass


PaginatorDocstring = WaiterDocstring = ClientMethodDocstring
"""

_DATES = "dateutil/parser/__init__.py"
"""Loads all that reads dates of any form; its one function is used seldom."""

_LATE_PARSER = """\
def parse(*args, **kwargs):
    from dateutil.parser._parser import parse as parse_now

    return parse_now(*args, **kwargs)
"""

_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}")


def cut(data: Path) -> None:
    """Cut the folder `data` of a botocore down, in place; raises DeployError.

    What stays is uncompressed JSON: the zip around it is compressed once.
    """
    services = {service: _cut_service(data / service, kept) for service, kept in OPERATIONS.items()}
    common = {name: _read(data, name) for name in _COMMON}
    for partition in common["endpoints"]["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in OPERATIONS if name in known}
    shutil.rmtree(data)
    for service, (version, files) in services.items():
        _write(data / service / version, files)
    _write(data, common)


def shed(code: Path) -> None:
    """Have modules of the SDK in the folder `code` do less while they load; raises DeployError."""
    for name in _UNUSED:
        _rewrite(code / name, lambda _: "")
    _rewrite(code / _DOCSTRINGS, lambda _: _NO_DOCSTRINGS)
    _rewrite(code / _DATES, lambda _: _LATE_PARSER)
    for name in WITH_PATTERNS:
        _rewrite(code / name, _compiling_late)


def _compiling_late(source: str) -> str:
    """Return a module that compiles its patterns when it uses them."""
    head, _, body = source.partition("\nimport re\n")
    late = body.replace(" = re.compile(", " = _LatePattern(")
    return source if late == body else f"{head}\n{_LATE_PATTERN}{late}"


def _rewrite(path: Path, change: Callable[[str], str]) -> None:
    if not path.is_file():
        raise DeployError(f"{path} is missing: did the SDK's layout change?")
    source = path.read_text(encoding="utf-8")
    if (changed := change(source)) == source:
        raise DeployError(f"{path} has nothing to leave out: did the SDK's layout change?")
    path.write_text(changed, encoding="utf-8")


def _cut_service(folder: Path, kept: frozenset[str]) -> tuple[str, dict[str, Any]]:
    versions = sorted(each.name for each in _folders(folder) if _VERSION.fullmatch(each.name))
    if not versions:
        raise DeployError(f"{folder} describes no service: did botocore's layout change?")
    latest = versions[-1]
    files = {
        name: _read(folder / latest, name) for name in _OF_A_SERVICE if _find(folder / latest, name)
    }
    files["service-2"] = _only(files["service-2"], kept, folder.name)
    return latest, files


def _only(model: dict[str, Any], kept: frozenset[str], service: str) -> dict[str, Any]:
    """Return a service's model with some operations and the shapes that they need."""
    if missing := kept - model["operations"].keys():
        raise DeployError(f"botocore's {service} has no {', '.join(sorted(missing))}")
    operations = {name: each for name, each in model["operations"].items() if name in kept}
    needed: set[str] = set()
    found = list(_shapes_named(operations))
    while found:
        name = found.pop()
        if name not in needed:
            needed.add(name)
            found += _shapes_named(model["shapes"][name])
    shapes = {name: each for name, each in model["shapes"].items() if name in needed}
    return {**model, "operations": _undocumented(operations), "shapes": _undocumented(shapes)}


def _shapes_named(part: object) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "shape" and isinstance(value, str):
                yield value
            else:
                yield from _shapes_named(value)
    elif isinstance(part, list):
        for value in part:
            yield from _shapes_named(value)


def _undocumented(part: Any) -> Any:  # noqa: ANN401 - JSON
    """Return JSON without documentation texts; a member called `documentation` stays."""
    if isinstance(part, dict):
        return {
            key: _undocumented(value)
            for key, value in part.items()
            if not (key == "documentation" and isinstance(value, str))
        }
    return [_undocumented(value) for value in part] if isinstance(part, list) else part


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir()] if folder.is_dir() else []


def _find(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}.json", folder / f"{name}.json.gz")
    return next((path for path in paths if path.is_file()), None)


def _read(folder: Path, name: str) -> Any:  # noqa: ANN401 - JSON
    path = _find(folder, name)
    if path is None:
        raise DeployError(f"{folder} has no {name}.json: did botocore's layout change?")
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def _write(folder: Path, files: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = json.dumps(content, separators=(",", ":"))
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
