"""Fixtures shared by all tests: backends are expensive processes, one for each test session.

Every test is watched besides: what runs in Lambda calls AWS only as a policy of .chalice/ lets it.
"""

from __future__ import annotations

import functools
import gc
import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests.emulators.backends import ministack_backend
from tests.policies.aws_calls import Watch
from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from tests.emulators.backends import Backend

pytest_plugins = ["tests.support.package_fixtures"]

# A machine that stands still for a second has found no fault, and a commit passes or fails: its
# examples are not drawn by lot. Others, and more of them: pytest --hypothesis-profile=explore
settings.register_profile(
    "moorage", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
settings.register_profile(
    "explore",
    settings.get_profile("moorage"),
    derandomize=False,
    max_examples=3000,
    print_blob=True,
)
settings.load_profile("moorage")

# The clients that tests make are for emulators here, whatever the shell is set up for.
os.environ.pop("AWS_PROFILE", None)
for _name in ("NO_PROXY", "no_proxy"):
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1,localhost")))

# A client's model is a file of a megabyte, which botocore reads again for each session.
_read = functools.cache(JSONFileLoader().load_file)
JSONFileLoader.load_file = lambda self, file_path: _read(file_path)  # type: ignore[method-assign]  # noqa: ARG005 - botocore's own

_WATCH = Watch()
_DRILLS = Path(__file__).parent / "drills"


def pytest_configure(config: pytest.Config) -> None:
    """Keep hypothesis from our source's words, unless it explores: which, is what is loaded."""
    if config.getoption("hypothesis_profile", None) is None:
        providers._get_local_constants = lambda: providers._local_constants  # noqa: SLF001 - no setting does it


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that `make quick` leaves out; those that package are marked elsewhere."""
    for item in items:
        if is_slow(item):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector look less often, and never at the modules and tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def is_slow(item: pytest.Item) -> bool:
    """Whether a test is a drill or runs over MiniStack."""
    return (
        _DRILLS in item.path.parents
        or "ministack" in item.name
        or "ministack" in getattr(item, "fixturenames", ())
    )


@pytest.fixture(scope="session", autouse=True)
def watch() -> Iterator[Watch]:
    """Look at every call to AWS of the session, those of fixtures too."""
    with _WATCH.on():
        yield _WATCH


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Fail the very test in which, or in whose fixtures, a call was made that no policy allows."""
    try:
        return (yield)
    finally:
        _WATCH.check()


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore repeat a request at once."""
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _seconds: None))


@pytest.fixture(scope="session")
def strict_moto() -> Iterator[Backend]:
    """Moto in this process, made to refuse what S3 refuses."""
    # moto takes a second, which whoever only hands out the tests need not take.
    from tests.emulators.moto_here import moto_here  # noqa: PLC0415 - as said

    with moto_here() as backend:
        yield backend


@pytest.fixture(scope="session")
def start_ministack() -> Iterator[Callable[[], Backend]]:
    """What starts MiniStack at the first call, and returns it at each."""
    with ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(ministack_backend()))


@pytest.fixture(scope="session")
def ministack(start_ministack: Callable[[], Backend]) -> Backend:
    """MiniStack with S3 and DynamoDB: it compares checksums, and verifies what is signed."""
    return start_ministack()


@pytest.fixture
def registry(strict_moto: Backend) -> RegistryUnderTest:
    """An empty registry over strict moto."""
    return registry_over(strict_moto.fresh())
