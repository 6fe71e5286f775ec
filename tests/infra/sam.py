"""The SAM transform, as CloudFormation runs it: by the library that AWS publishes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

from samtranslator.translator.transform import transform

if TYPE_CHECKING:
    from collections.abc import Mapping

_REGION = {"AWS_DEFAULT_REGION": "us-east-1"}


class _NoManagedPolicies:
    """Our roles name no managed policy."""

    def load(self) -> dict[str, str]:
        """Return none."""
        return {}


def transformed(template: Mapping[str, Any], parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return a template of CloudFormation's own resources; raises what the library raises."""
    copy = json.loads(json.dumps(template))
    with mock.patch.dict(os.environ, _REGION):
        result: dict[str, Any] = transform(copy, dict(parameters), _NoManagedPolicies())
    return result
