"""A registry for tests that leave nothing behind by which another one could go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.registries import RegistryUnderTest, registry_over

if TYPE_CHECKING:
    from tests.emulators.backends import Backend


@pytest.fixture(scope="module")
def shared(strict_moto: Backend) -> RegistryUnderTest:
    """A registry that the tests of a module share: most time of a test is making one."""
    return registry_over(strict_moto.fresh())
