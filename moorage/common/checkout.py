"""Where the project's own files are: app.py, the templates, and what Chalice packs."""

from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
"""The folder that holds app.py; commands that need the project run in it."""

API_TEMPLATE: Final = CHECKOUT / "infra" / "api.merge.yaml"
"""What is merged into the template that Chalice makes."""

DATA_TEMPLATE: Final = CHECKOUT / "infra" / "data.yaml"
"""The stack that holds what is kept: the bucket and the tables."""

OBSERVABILITY_TEMPLATE: Final = CHECKOUT / "infra" / "observability.yaml"
"""The stack of the dashboard and the alarms."""
