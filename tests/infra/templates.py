"""The project's templates and Chalice's settings, read once for every test that looks into them."""

from __future__ import annotations

import json
from typing import Any, Final

from moorage.common.project import (
    API_TEMPLATE,
    DATA_TEMPLATE,
    OBSERVABILITY_TEMPLATE,
    PROJECT,
    load_template,
)

API: Final = load_template(API_TEMPLATE)
DATA: Final = load_template(DATA_TEMPLATE)
OBSERVABILITY_TEXT: Final = OBSERVABILITY_TEMPLATE.read_text(encoding="utf-8")
OBSERVABILITY: Final = load_template(OBSERVABILITY_TEMPLATE)

CONFIG: Final[dict[str, Any]] = json.loads(
    (PROJECT / ".chalice" / "config.json").read_text(encoding="utf-8")
)
POLICIES: Final = {path.name: path for path in (PROJECT / ".chalice").glob("policy-*.json")}
