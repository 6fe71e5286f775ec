"""Where the project's own files are: app.py, infra/, and what Chalice packs."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds app.py; commands that need the project run in it."""
