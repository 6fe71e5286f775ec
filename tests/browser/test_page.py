"""The page as people use it: find an image, look at it, delete it; with keys, on a phone."""

from __future__ import annotations

import base64
import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from chalicelib.stores.dynamodb import keys
from moorage.common.project import PROJECT
from tests.browser.__main__ import TOOLS
from tests.browser.seeding import HOSTILE, Rows, Seeder, seed
from tests.clients import daemons
from tests.clients.logins import RegistryOwner
from tests.support.servers import request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.clients.daemons import RegistryProcess

pytestmark = pytest.mark.timeout(300)
SHOTS = PROJECT / "build" / "browser"
WEB = sorted((PROJECT / "chalicelib" / "web").glob("*.js"))
VIEWS = {
    "front": "#/",
    "repository": "#/repository/shop/checkout",
    "everything": "#/everything/shop/checkout",
    "history": "#/history/shop/checkout",
    "retention": "#/retention/shop/checkout",
}


def visit(page: Page, registry: str, at: str = "#/") -> None:
    """Go to a view and wait until it is there."""
    page.goto("about:blank")
    page.goto(f"{registry}/v2/_moorage/{at}")
    expect(page.locator("main h1")).to_be_visible()


@contextmanager
def requests_of(page: Page) -> Iterator[list[str]]:
    """Collect the API's paths that a page asks for."""
    asked: list[str] = []

    def note(sent: object) -> None:
        url = str(getattr(sent, "url", ""))
        if not re.search(r"/_moorage/($|\w+\.(js|css))", url.partition("#")[0]):
            asked.append(url.partition("/v2/")[2])

    page.on("request", note)
    yield asked
    page.remove_listener("request", note)


def test_a_repository_is_found_by_how_its_name_begins(page: Page, open_registry: str) -> None:
    """The server searches; the address can be kept, and back leads back."""
    visit(page, open_registry)
    names = page.locator("a.name")
    assert names.all_inner_texts() == ["infra/proxy", "shop/cart", "shop/checkout"]
    page.keyboard.press("/")
    page.keyboard.type("shop/ch")
    expect(names).to_have_count(1)
    assert page.url.endswith("#/?prefix=shop%2Fch")
    page.keyboard.press("Tab")
    names.first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("shop/checkout")
    page.go_back()
    expect(names).to_have_count(1)
    visit(page, open_registry, "#/?prefix=nothing")
    expect(page.locator("main")).to_contain_text("No repository that you may pull from begins")


def test_the_list_has_facts_in_one_request(page: Page, open_registry: str) -> None:
    """Bytes, shares, waste, price and times; what the collector has not seen is unknown."""
    with requests_of(page) as asked:
        visit(page, open_registry)
        assert asked == ["_moorage/repositories?n=100"]
    row = page.locator("tr", has=page.get_by_role("link", name="shop/cart", exact=True))
    cells = row.locator("td").all_inner_texts()
    assert cells[1:6] == ["21", "4.9 GB", "1.6 GB", "41.0 GB", "0.09"]
    assert "days ago" in cells[6]
    unknown = page.locator("tr", has=page.get_by_role("link", name="infra/proxy", exact=True))
    expect(unknown).to_contain_text("known after the collector's next look")
    expect(page.locator("main")).to_contain_text("as of the collector's last look")


def test_an_image_says_where_it_runs_and_which_rules_keep_it(
    page: Page, open_registry: str
) -> None:
    """In the row of a tag, and in the preview of retention, by one request."""
    visit(page, open_registry, VIEWS["repository"])
    row = page.locator("tr", has=page.get_by_role("link", name="v1.5.0", exact=True))
    expect(row).to_contain_text("runs in ECS prod: web, service checkout, lease until 20")
    expect(row).to_contain_text("may not move, by rule releases")
    row = page.locator("tr", has=page.get_by_role("link", name="latest", exact=True))
    expect(row).to_contain_text("kept while among the last 3, by rule newest")
    page.get_by_role("link", name="v1.5.0", exact=True).click()
    stays = page.locator("dt", has_text="Stays").locator("+ dd")
    expect(stays).to_contain_text("may not move, by rule releases")
    expect(stays).to_contain_text("runs in ECS prod")
    visit(page, open_registry, VIEWS["repository"])
    with requests_of(page) as asked:
        page.get_by_role("link", name="Retention").click()
        expect(page.locator("main")).to_contain_text(
            "CI: lets tags * and images without a tag go 14 days"
        )
        assert asked == ["shop/checkout/_moorage/retention"]
    words = page.locator("tbody").inner_text()
    assert "runs in prod" in words
    assert "its tag may not move, by rule releases" in words
    assert re.search(r"goes by rule CI\s+20\d\d-", words)
    expect(page.locator("main")).to_contain_text("0 of 3 images would go")
    visit(page, open_registry, "#/retention/infra/proxy")
    expect(page.locator("main")).to_contain_text("nothing of it goes by itself")


def test_a_tag_unfolds_to_its_platforms_and_what_refers_to_it(
    page: Page, open_registry: str
) -> None:
    """One request for the whole list, and one more when a row is unfolded."""
    with requests_of(page) as asked:
        visit(page, open_registry, VIEWS["repository"])
        assert asked == ["shop/checkout/_moorage/tags?n=100"]
        tags = page.locator("a.tag").all_inner_texts()
        assert tags == ["feature", "latest", "v1.4.0", "v1.5.0"]
        row = page.locator("tr", has=page.get_by_role("link", name="v1.5.0", exact=True))
        chips = row.locator(".chip").all_inner_texts()
        assert chips[:2] == ["linux/amd64", "linux/arm64"]
        page.get_by_role("button", name="Show what v1.5.0 is made of").press("Enter")
        nested = page.locator("tr.nested")
        expect(nested).to_have_count(4)
        assert len(asked) == 2
    words = " ".join(nested.all_inner_texts())
    assert all(word in words for word in ("linux/amd64", "linux/arm64", "SBOM", "signature"))
    page.get_by_role("button", name="Show what v1.5.0 is made of").click()
    expect(nested.first).to_be_hidden()
    page.get_by_role("button", name="Show what feature is made of").click()
    expect(page.locator("tr.nested:visible")).to_contain_text("attached by a tag")


def test_an_image_shows_its_layers_and_hostile_words_as_text(
    page: Page, open_registry: str
) -> None:
    """Commands, labels and annotations are what somebody wrote, and nothing of it runs."""
    visit(page, open_registry, VIEWS["repository"])
    page.get_by_role("link", name="feature", exact=True).click()
    expect(page.locator("h2").first).to_have_text("Layers")
    main = page.locator("main").inner_text()
    assert main.count(HOSTILE) == 4
    assert re.search("with [23] repositories", main)  # a test deletes from a third
    assert "ADD rootfs" in main
    assert page.locator("main img, main script").count() == 0


def test_two_tags_are_compared(page: Page, open_registry: str) -> None:
    """The layers that one alone has are marked, and what differs in the configs is listed."""
    visit(page, open_registry, "#/repository/shop/cart")
    page.get_by_role("checkbox", name="Choose build-0000").check()
    compare = page.get_by_role("button", name="Compare")
    expect(compare).to_be_disabled()
    page.get_by_role("checkbox", name="Choose build-0001").check()
    expect(compare).to_be_disabled()  # the same image
    page.get_by_role("checkbox", name="Choose build-0001").uncheck()
    page.get_by_role("button", name="Show more").click()
    page.get_by_role("checkbox", name="Choose latest").check()
    compare.click()
    expect(page.locator("h1")).to_have_text("What differs")
    expect(page.locator("tr.only")).to_have_count(2)
    expect(page.locator("main")).to_contain_text("No difference.")


def test_many_tags_come_page_by_page(page: Page, open_registry: str) -> None:
    """The first hundred by one request, the others when they are asked for."""
    with requests_of(page) as asked:
        visit(page, open_registry, "#/repository/shop/cart")
        expect(page.locator("a.tag")).to_have_count(100)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator("a.tag")).to_have_count(131)
        expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    assert len(asked) == 2


def test_several_images_are_deleted_after_showing_their_dependents(
    page: Page, open_registry: str
) -> None:
    """The dialog names digests and tags; the tags alone may go, and Escape keeps all.

    What is in the trash comes back by the history.
    """
    seeder, name = Seeder(open_registry, {}), "deleting/app"
    seeder.image(name, "one", b"1")
    for tag in ("two", "also-two"):
        seeder.image(name, tag, b"2")
    visit(page, open_registry, f"#/repository/{name}")
    page.get_by_role("checkbox", name="Choose two").check()
    page.get_by_role("button", name="Delete 1…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("tags also-two, two")
    expect(dialog).to_contain_text("Frees 1 B.")
    expect(dialog).to_contain_text("brings it back until 20")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.get_by_role("button", name="Delete 1…").click()
    dialog.get_by_role("checkbox", name="Only the tags").check()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("a.tag")).to_have_text(["also-two", "one"])
    for tag in ("also-two", "one"):
        page.get_by_role("checkbox", name=f"Choose {tag}").check()
    page.get_by_role("button", name="Delete 2…").click()
    expect(dialog.locator("li")).to_have_count(2)
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("main")).to_contain_text("No tags.")
    assert request(open_registry, "GET", f"/v2/{name}/manifests/one")[0] == 404

    page.get_by_role("link", name="History", exact=True).click()
    rows = page.locator("tbody tr")
    deleted = rows.filter(has_text="one").filter(has_text="in the trash")
    deleted.get_by_role("button", name="Restore").first.click()
    expect(page.get_by_role("status")).to_contain_text("under one")
    assert request(open_registry, "GET", f"/v2/{name}/manifests/one")[0] == 200
    assert request(open_registry, "GET", f"/v2/{name}/manifests/also-two")[0] == 404


def test_a_deep_deletion_includes_manifests_that_nothing_else_names(
    page: Page, open_registry: str
) -> None:
    """The images of an index go with it, unless that is unticked; all by one look."""
    seeder, name = Seeder(open_registry, {}), "deleting/index"
    index = seeder.platforms(name, "all")
    seeder.attach(name, index, "application/spdx+json")
    visit(page, open_registry, f"#/repository/{name}")
    page.get_by_role("checkbox", name="Choose all").check()
    dialog = page.get_by_role("dialog")
    with requests_of(page) as asked:
        page.get_by_role("button", name="Delete 1…").click()
        also = dialog.get_by_role("checkbox", name="Also 3 images or signatures")
        expect(also).to_be_checked()
        expect(dialog).to_contain_text("1 other manifest refers to it")
        assert len(asked) == 1
    also.uncheck()
    expect(dialog).to_contain_text("Frees 0 B")
    also.check()
    expect(dialog).not_to_contain_text("Frees 0 B")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.locator("main")).to_contain_text("No tags.")
    assert request(open_registry, "GET", f"/v2/{name}/_moorage/images")[2] == (
        b'{"name": "deleting/index", "images": []}'
    )


def test_a_running_image_is_deleted_only_with_a_second_tick(
    page: Page, open_registry: str, served: RegistryProcess
) -> None:
    """The dialog says where it runs, and its button waits."""
    seeder, name = Seeder(open_registry, {}), "deleting/running"
    image = seeder.image(name, "v1", b"runs")
    Rows(served.aws).runs(name, image["digest"], "web")
    visit(page, open_registry, f"#/repository/{name}")
    page.get_by_role("checkbox", name="Choose v1").check()
    page.get_by_role("button", name="Delete 1…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("runs in ECS prod: web")
    button = dialog.get_by_role("button", name="Delete")
    expect(button).to_be_disabled()
    dialog.get_by_role("checkbox", name="Delete what runs").check()
    button.click()
    expect(page.locator("main")).to_contain_text("No tags.")


def test_ten_thousand_tags_and_a_thousand_repositories(
    page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first rows come within a second, by one request each; so do the next ones.

    That is without what the emulator of DynamoDB takes: it looks at all rows for each query. The
    times are printed, even if all is well.
    """
    name = "team-0000/service"
    with daemons.start_moorage("--no-gc") as running:
        rows = Rows(running.aws)
        rows.many(1_000, 10_000, name)
        for at, shown, asked_for, queries in (
            ("#/", "a.name", "_moorage/repositories?n=100", [keys.repositories_after(None)]),
            (
                f"#/repository/{name}",
                "a.tag",
                f"{name}/_moorage/tags?n=100",
                [keys.tags_after(name, None), keys.in_use_of(name)],
            ),
        ):
            seconds = []
            for _ in range(5):
                page.goto("about:blank")
                with requests_of(page) as asked:
                    began = time.monotonic()
                    page.goto(f"{running.gateway}/v2/_moorage/{at}")
                    page.locator(shown).nth(99).wait_for()
                    whole = time.monotonic() - began
                assert asked == [asked_for]
                seconds.append((whole - rows.query_seconds(queries), whole))
            without, whole = min(seconds)
            with capsys.disabled():
                print(f"\n{at}: first rows after {without:.2f} s; with the emulator {whole:.2f} s")
            assert min(seconds)[0] < 1
            with requests_of(page) as asked:
                page.get_by_role("button", name="Show more").click()
                page.locator(shown).nth(199).wait_for()
            assert len(asked) == 1


def test_an_error_on_the_page_says_what_to_do(page: Page, open_registry: str) -> None:
    """What is gone, what is no address, a registry that can't be reached: nothing stays empty."""
    page.goto(f"{open_registry}/v2/_moorage/#/repository/nowhere")
    expect(page.get_by_role("alert")).to_contain_text("NAME_UNKNOWN")
    page.goto(f"{open_registry}/v2/_moorage/#/nonsense")
    expect(page.locator(".error")).to_contain_text("leads nowhere")
    page.context.set_offline(True)
    page.evaluate("location.hash = '#/repository/shop/cart'")
    expect(page.get_by_role("alert")).to_contain_text("can't be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("h1")).to_have_text("shop/cart")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_every_view_fits_and_can_be_read_by_everybody(
    page: Page, open_registry: str, scheme: str, width: int
) -> None:
    """No view is wider than the screen, and axe-core finds no serious fault, contrast included."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    SHOTS.mkdir(parents=True, exist_ok=True)
    views = dict(VIEWS)
    visit(page, open_registry, VIEWS["repository"])
    views["image"] = str(page.get_by_role("link", name="feature", exact=True).get_attribute("href"))
    for name, at in views.items():
        visit(page, open_registry, at)
        if name == "repository":
            page.get_by_role("button", name="Show what v1.5.0 is made of").click()
            expect(page.locator("tr.nested")).to_have_count(4)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        page.screenshot(path=SHOTS / f"{name}-{scheme}-{width}.png", full_page=True)
        assert serious_faults(page) == [], name
    visit(page, open_registry, VIEWS["repository"])
    box = page.get_by_role("checkbox", name="Choose v1.5.0")
    box.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Delete 1…").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Frees")
    page.screenshot(path=SHOTS / f"deletion-{scheme}-{width}.png")
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def serious_faults(page: Page) -> list[str]:
    """Return what axe-core finds that keeps somebody from using the page."""
    source = (TOOLS / "node_modules" / "axe-core" / "axe.min.js").read_text()
    # The page's policy runs no script but its own, so this one goes in by the debugger.
    page.evaluate(source)
    found = page.evaluate("axe.run(document)")
    return [
        f"{fault['id']}: {[node['html'][:120] for node in fault['nodes'][:3]]}"
        for fault in found["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]


def test_a_login_sees_what_it_may_pull_and_no_more(page: Page, tmp_path: Path) -> None:
    """Wrong tokens are refused, a reader sees no other team's names and nothing to delete with."""
    file = tmp_path / "token"
    with daemons.start_moorage("--auth", "--admin-token-file", str(file)) as running:
        admin = file.read_text().strip()
        login = base64.b64encode(f"admin:{admin}".encode()).decode()
        seed(Seeder(running.gateway, {"Authorization": f"Basic {login}"}))
        reader = RegistryOwner(running, admin).make("reader", "shop/*:pull")

        page.goto(f"{running.gateway}/v2/_moorage/")
        page.get_by_label("API token").fill("moor_wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_contain_text("UNAUTHORIZED")
        page.get_by_label("API token").fill(reader)
        page.get_by_role("button", name="Log in").click()
        names = page.locator("a.name")
        expect(names).to_have_text(["shop/cart", "shop/checkout"])
        names.last.click()
        expect(page.locator("a.tag").first).to_be_visible()
        expect(page.get_by_role("button", name="Delete")).to_have_count(0)
        page.goto(f"{running.gateway}/v2/_moorage/#/repository/infra/proxy")
        expect(page.get_by_role("alert")).to_contain_text("DENIED")

        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("DENIED")  # and no login is asked for
        assert reader not in page.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("API token")).to_be_visible()


def test_the_scripts_have_no_wrong_types() -> None:
    """TypeScript's compiler reads the types in their comments, strictly."""
    compiler = TOOLS / "node_modules" / "typescript" / "bin" / "tsc"
    options = [
        *("--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2022"),
        *("--module", "es2022", "--moduleResolution", "bundler"),
        *("--lib", "dom,dom.iterable,es2023"),
    ]
    done = subprocess.run(
        [str(compiler), *options, *map(str, WEB)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")
