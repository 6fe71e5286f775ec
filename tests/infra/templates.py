"""The project's templates and Chalice's settings, read once for every test that looks into them."""

from __future__ import annotations

import json
from typing import Any, Final

import yaml

from moorage.common.project import API_TEMPLATE, DATA_TEMPLATE, OBSERVABILITY_TEMPLATE, PROJECT


def _read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)
    return found


API: Final = _read(API_TEMPLATE.read_text(encoding="utf-8"))
DATA: Final = _read(DATA_TEMPLATE.read_text(encoding="utf-8"))
OBSERVABILITY_TEXT: Final = OBSERVABILITY_TEMPLATE.read_text(encoding="utf-8")
OBSERVABILITY: Final = _read(OBSERVABILITY_TEXT)

CONFIG: Final[dict[str, Any]] = json.loads(
    (PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8")
)
POLICIES: Final = {path.name: path for path in (PROJECT / ".chalice").glob("policy-*.json")}
