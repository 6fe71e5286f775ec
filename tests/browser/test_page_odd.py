"""The page where something is odd: strange artifacts, long names, what fails or ends half-way."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.seeding import Seeder, seed_odd
from tests.browser.test_page import requests_of, visit
from tests.clients import daemons
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.timeout(300)
ODD = "odd/things"


@pytest.fixture(scope="module")
def odd() -> Iterator[str]:
    """An open registry, with what nobody expects in it."""
    with daemons.start_moorage("--no-gc") as running:
        seed_odd(Seeder(running.gateway, {}), ODD)
        yield running.gateway


@pytest.mark.parametrize("width", [1200, 375])
def test_unusual_values_fit_the_page_and_are_named(page: Page, odd: str, width: int) -> None:
    """Tags of 128 characters, types nobody knows: no column is squeezed, and none cut off."""
    page.set_viewport_size({"width": width, "height": 800})
    visit(page, odd, f"#/repository/{ODD}")
    for tag in ("many", "nested", "helm"):
        page.get_by_role("button", name=f"Show what {tag} is made of").click()
    nested = page.locator("tr.nested")
    expect(nested).to_have_count(4)
    words = " ".join(nested.all_inner_texts())
    assert re.search(r"of linux/amd64\s+attestation", words)
    assert re.search(r"linux/amd64\s+index", words)
    assert "nothing refers to it" in words
    titles = page.locator("td.title").filter(has_not_text="t" * 128).all()
    assert all(title.bounding_box()["height"] < 60 for title in titles)  # type: ignore[index]
    cards = "[...document.querySelectorAll('.card')]"
    cut = f"{cards}.filter((card) => card.scrollWidth > card.clientWidth).length"
    links = [link.get_attribute("href") for link in page.locator("a.tag").all()]
    for view in (f"#/repository/{ODD}", *map(str, links), f"#/everything/{ODD}"):
        visit(page, odd, view)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        assert page.evaluate(cut) == 0, view


def test_tags_are_found_by_how_they_begin(page: Page, odd: str) -> None:
    """The server searches, the address can be kept, and what is not there is said."""
    visit(page, odd, f"#/repository/{ODD}")
    field = page.get_by_role("searchbox", name="Search tags")
    field.fill("un")
    with requests_of(page) as asked:
        field.press("Enter")
        expect(page.locator("a.tag")).to_have_text(["unreadable"])
        assert asked == [f"{ODD}/_moorage/tags?n=100&prefix=un"]
    visit(page, odd, f"#/repository/{ODD}?prefix=wa")
    expect(page.locator("a.tag")).to_have_text(["wasm"])
    field.fill("100 %?&#")
    field.press("Enter")
    expect(page.locator("main")).to_contain_text("No tag begins with “100 %?&#”")
    page.get_by_role("link", name="All tags").click()
    expect(page.locator("a.tag").first).to_be_visible()


def test_the_pull_command_fits_the_kind_of_artifact(page: Page, odd: str) -> None:
    """Images come by docker, charts by helm, the rest by oras; an unreadable config is said."""
    host = odd.partition("://")[2]
    visit(page, odd, f"#/repository/{ODD}")
    for tag, command in (
        ("many", f"docker pull {host}/{ODD}:many"),
        ("unreadable", f"docker pull {host}/{ODD}:unreadable"),
        ("helm", f"helm pull oci://{host}/{ODD} --version helm"),
        ("wasm", f"oras pull {host}/{ODD}:wasm"),
    ):
        row = page.locator("tr", has=page.get_by_role("link", name=tag, exact=True))
        title = row.get_by_role("button", name="Copy the command that pulls this tag")
        assert str(title.get_attribute("title")).endswith(command)
    page.get_by_role("link", name="unreadable", exact=True).click()
    expect(page.locator("main")).to_contain_text("Its config can't be shown")


def test_a_repository_without_tags_says_where_the_rest_is(page: Page, odd: str) -> None:
    """Untagged images are in the list of everything, deleted ones in the history."""
    Seeder(odd, {}).image("odd/untagged", None, b"untagged")
    visit(page, odd, "#/repository/odd/untagged")
    said = page.locator("main p", has_text="No tags.")
    expect(said.get_by_role("link", name="the history")).to_be_visible()
    said.get_by_role("link", name="everything").click()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_the_skip_link_leads_to_the_list_and_stays_in_the_view(page: Page, odd: str) -> None:
    """By keys alone."""
    visit(page, odd, f"#/repository/{ODD}")
    at = page.url
    skip = page.get_by_role("link", name="Skip to the list")
    skip.focus()
    skip.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.url == at
    expect(page.locator("h1")).to_have_text(ODD)


@pytest.mark.parametrize(
    "at", ["#/repository/%E0%A4%A", "#/repository/..%2F..%2F_catalog", "#/image/a@%00", "#/%3Cb%3E"]
)
def test_an_invented_page_address_is_an_error_with_a_link_back(
    page: Page, odd: str, at: str
) -> None:
    """And no blank page."""
    page.goto(f"{odd}/v2/_moorage/{at}")
    expect(page.locator(".error")).to_be_visible()
    page.get_by_role("link", name="All repositories", exact=True).click()
    expect(page.locator("h1")).to_have_text("Repositories")


def test_an_image_deleted_by_another_client_counts_as_deleted(page: Page, odd: str) -> None:
    """And an image that is gone leads to the history; back does not lead to what is deleted."""
    seeder, name = Seeder(odd, {}), "deleting/meanwhile"
    images = {tag: seeder.image(name, tag, tag.encode())["digest"] for tag in ("a", "b", "c")}
    visit(page, odd, f"#/repository/{name}")
    for tag in ("a", "b"):
        page.get_by_role("checkbox", name=f"Choose {tag}").check()
    page.get_by_role("button", name="Delete 2…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Frees")
    assert request(odd, "DELETE", f"/v2/{name}/manifests/{images['a']}")[0] == 202
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("a.tag")).to_have_text(["c"])
    expect(page.get_by_role("status")).to_have_text("Deleted 2 images.")

    page.get_by_role("link", name="c", exact=True).click()
    page.get_by_role("button", name="Delete…").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("main")).to_contain_text("No tags.")
    page.go_back()
    expect(page.locator("h1")).to_have_text(name)

    page.goto(f"{odd}/v2/_moorage/#/image/{name}@{images['c']}")
    expect(page.get_by_role("alert")).to_contain_text("MANIFEST_UNKNOWN")
    page.get_by_role("link", name="What was deleted there").click()
    expect(page.locator("tbody")).to_contain_text("in the trash")


def test_a_login_that_expires_during_a_deletion_shows_what_was_deleted(
    page: Page, odd: str
) -> None:
    """The dialog says that 1 of 2 images is deleted, and the login is shown behind it."""
    seeder, name = Seeder(odd, {}), "deleting/halfway"
    for tag in ("a", "b"):
        seeder.image(name, tag, tag.encode())
    visit(page, odd, f"#/repository/{name}")
    for tag in ("a", "b"):
        page.get_by_role("checkbox", name=f"Choose {tag}").check()
    page.get_by_role("button", name="Delete 2…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Frees")
    done: list[str] = []

    def ended(route: Route) -> None:
        if route.request.method == "DELETE" and not done:
            done.append(route.request.url)
            route.continue_()
        else:
            route.fulfill(status=401, json={"errors": [{"code": "UNAUTHORIZED", "message": ""}]})

    page.route("**/v2/**", ended)
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_role("alert")).to_contain_text("login has ended")
    expect(dialog).to_contain_text("1 of 2 images deleted")
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_label("User name")).to_be_focused()
    assert request(odd, "GET", f"/v2/{name}/_moorage/tags")[2].count(b'"tag"') == 1


def test_a_slow_answer_is_waited_for_and_never_covers_a_later_view(page: Page, odd: str) -> None:
    """A view that comes late is not shown; while one comes, the page says that it is busy."""
    visit(page, odd)

    def slow(route: Route) -> None:
        held.append(route)

    held: list[Route] = []
    page.route("**/odd/things/_moorage/tags*", slow)
    page.evaluate(f"location.hash = '#/repository/{ODD}'")
    expect(page.locator("main")).to_have_attribute("aria-busy", "true")
    page.evaluate("location.hash = '#/everything/odd/things'")
    expect(page.locator(".crumbs")).to_contain_text("everything")
    until = time.monotonic() + 20
    while not held and time.monotonic() < until:
        page.wait_for_timeout(50)
    with page.expect_response("**/odd/things/_moorage/tags*"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(page.locator(".crumbs")).to_contain_text("everything")
    expect(page.locator("main")).not_to_have_attribute("aria-busy", "true")


@pytest.mark.parametrize("first", [1_000, 0])
def test_a_preview_of_more_than_a_thousand_images_comes_page_by_page(
    page: Page, odd: str, first: int
) -> None:
    """One request a page. A page has no row where all on it belongs to other images."""
    path, count = "/v2/some/app/_moorage/retention", 1_100
    digests = [f"sha256:{number:064x}" for number in range(count)]
    row = {"goes": False, "reason": "kept", "by": "stable", "tag": "v1", "due": None}
    content: dict[str, object] = {
        "rules": [{"name": "stable", "words": "keeps tags v*"}],
        "stopped": None,
        "images": count,
        "going": 0,
    }

    def answer(route: Route) -> None:
        begins = "last" not in route.request.url
        roots = digests[:first] if begins else digests[first:]
        rows = [{**row, "digest": digest, "root": digest} for digest in roots]
        rows += [{**row, "digest": digests[0], "root": digests[1]}] * begins
        link = {"Link": f'<{path}?last={digests[first]}>; rel="next"'} if begins else {}
        route.fulfill(json={**content, "decisions": rows}, headers=link)

    page.route(f"**{path}*", answer)
    rows = page.locator("tbody tr")
    with requests_of(page) as asked:
        visit(page, odd, "#/retention/some/app")
        expect(page.locator("main")).to_contain_text(f"0 of {count} images would go")
        expect(rows).to_have_count(first)
        page.get_by_role("button", name="Show more").click()
        expect(rows).to_have_count(count)
        expect(rows.last).to_contain_text("kept by rule stable")
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    assert len(asked) == 2
