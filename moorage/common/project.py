"""Where the project's own files are: app.py, the templates, and what Chalice packs.

In a checkout they are at its top, where Chalice wants them. setup.py puts them inside the wheel.
"""

from pathlib import Path
from typing import Any, Final

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = _PACKAGE / "_project"

PROJECT: Final = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent
"""The folder of app.py, in which commands that need the project run."""

API_TEMPLATE: Final = PROJECT / "infra" / "api.merge.yaml"
"""What is merged into the template that Chalice makes."""

DATA_TEMPLATE: Final = PROJECT / "infra" / "data.yaml"
"""The stack that holds what is kept: the bucket and the tables."""

OBSERVABILITY_TEMPLATE: Final = PROJECT / "infra" / "observability.yaml"
"""The stack of the dashboard and the alarms."""

EDGE_TEMPLATE: Final = PROJECT / "infra" / "edge.yaml"
"""The stack of the edge: CloudFront's distribution and what it stands on."""

EDGE_FUNCTION: Final = PROJECT / "infra" / "edge.js"
"""The function that CloudFront runs there."""

DEPLOYER_POLICY: Final = PROJECT / "infra" / "deployer-policy.json"
"""The rights that deploying needs, as an IAM policy."""


def load_template(path: Path) -> dict[str, Any]:
    """Return one of these templates, or another file of YAML; raises OSError."""
    import yaml  # noqa: PLC0415 - of the extra `deploy`; the paths above need none

    # The same loader in C is ten times as fast; not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    template: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506 - a safe one
    return template
