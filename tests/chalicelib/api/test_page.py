"""The page's files: what a browser may do with them, and that each is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from chalicelib.api import page
from chalicelib.routes import PAGE_FILES
from moorage.common.project import PROJECT

if TYPE_CHECKING:
    from tests.support.registries import RegistryUnderTest

WEB = PROJECT / "chalicelib" / "web"
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


@pytest.mark.parametrize("name", ["index.html", *PAGE_FILES])
def test_a_file_comes_as_it_is_and_runs_nothing_else(
    registry: RegistryUnderTest, name: str
) -> None:
    """With its type, and a policy that allows no other origin, no inline script and no frame."""
    path = "_moorage" if name == "index.html" else f"_moorage/{name}"
    answer = registry.ask("GET", path)
    assert (answer.status, answer.body) == (200, (WEB / name).read_bytes())
    assert str(answer.headers["Content-Type"]).startswith(TYPES[name.rpartition(".")[2]])
    policy = str(answer.headers["Content-Security-Policy"])
    assert policy.startswith("default-src 'none'")
    assert not re.search("unsafe|http|\\*|data:", policy)
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"

    again = registry.ask("GET", path, if_none_match=str(answer.headers["ETag"]))
    assert (again.status, again.body, again.headers) == (304, b"", answer.headers)
    assert registry.ask("GET", path, if_none_match='"other"').status == 200


def test_all_files_are_served_and_weigh_less_than_60_kb() -> None:
    """Nothing lies in the folder that no route serves."""
    found = {path.name: path.stat().st_size for path in WEB.iterdir()}
    assert set(found) == {"index.html", *PAGE_FILES}
    assert sum(found.values()) < 60_000


def test_nothing_else_of_the_package_is_served(registry: RegistryUnderTest) -> None:
    """A file is one that the table of routes names."""
    for name in ("index.html", "..%2fsettings.py", "%2e%2e/routes.py", "page.css%00", "PAGE.CSS"):
        assert registry.ask("GET", f"_moorage/{name}").status in {400, 404}


def test_no_file_reads_html_or_loads_from_elsewhere() -> None:
    """What somebody pushed is text: no file has a way to make it anything else."""
    for path in WEB.iterdir():
        text = path.read_text()
        unsafe = "innerHTML|outerHTML|insertAdjacentHTML|document\\.write|eval\\(|new Function"
        assert not re.search(unsafe, text), path.name
        links = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert links <= {"http://www.w3.org/2000/svg"}, path.name


def test_files_are_read_once() -> None:
    """A function that answers many requests does not read them from disk each time."""
    page._read.cache_clear()  # noqa: SLF001 - the cache itself is what is looked at
    for _ in range(3):
        page._read("page.css")  # noqa: SLF001 - likewise
    assert page._read.cache_info().misses == 1  # noqa: SLF001 - likewise
