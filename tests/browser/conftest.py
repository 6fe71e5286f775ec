"""Registries with something to look at, and pages that report what they must not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.seeding import Rows, Seeder, seed, some_facts
from tests.clients import daemons
from tests.clients.tools import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

    from tests.clients.daemons import RegistryProcess

# Without a sandbox of its own, for the tests run as root; and asking nobody on the network.
_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


expect.set_options(timeout=20_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        path = program("chromium")
        running = playwright.chromium.launch(executable_path=path, args=list(_OPTIONS))
        yield running
        running.close()


RULES = {
    "immutable": [{"name": "releases", "repositories": ["shop/**"], "tags": ["v*"]}],
    "retention": {
        "rules": [
            {
                "name": "CI",
                "repositories": ["shop/**"],
                "tags": ["*"],
                "untagged": True,
                "expire": {"days_since_push": 14},
            },
            {"name": "stable", "repositories": ["shop/**"], "tags": ["stable"], "keep": "always"},
            {
                "name": "newest",
                "repositories": ["shop/**"],
                "tags": ["latest"],
                "keep": {"last": 3},
            },
        ]
    },
}


@pytest.fixture(scope="session")
def served() -> Iterator[RegistryProcess]:
    """An open registry, and what it holds."""
    # A pass of the collector would note its own facts over those that are seeded.
    with daemons.start_moorage("--no-gc") as running:
        shop = seed(Seeder(running.gateway, {}))
        rows = Rows(running.aws)
        rows.runs("shop/checkout", shop, "web, service checkout")
        rows.rules(RULES)
        for number, name in enumerate(("shop/cart", "shop/checkout")):
            rows.facts(name, some_facts(3 + number))
        yield running


@pytest.fixture(scope="session")
def open_registry(served: RegistryProcess) -> str:
    """Its address."""
    return served.gateway


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page on a wide screen. Errors, violations of its policy, and dialogs fail the test."""
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 800}, color_scheme="light")
    context.set_default_timeout(20_000)
    opened = context.new_page()
    opened.on("pageerror", lambda error: faults.append(f"error: {error}"))
    opened.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
    opened.on(
        "console",
        lambda said: faults.append(said.text) if "Content Security Policy" in said.text else None,
    )
    yield opened
    context.close()
    assert faults == []
