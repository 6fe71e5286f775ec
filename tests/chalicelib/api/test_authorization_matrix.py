"""Authorization as a matrix: every login, in every form, at every endpoint of every repository.

The expected answers come from a table of rights here, and not from the code that decides.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import pytest

from chalicelib.access.scopes import parse_scopes
from chalicelib.access.token_service import TokenRequest
from chalicelib.api.authorization import GrantedAccess
from chalicelib.api.dispatch import Api
from chalicelib.api.messages import Response
from chalicelib.digest import Digest
from chalicelib.prices import stored_for_a_month
from chalicelib.registry import lists
from chalicelib.registry.model import CatalogFacts
from chalicelib.registry.service import Limits
from chalicelib.registry.session import Owner
from chalicelib.routes import ROUTES, Action, Route
from chalicelib.settings import ApiOptions, HeadStrategy
from tests.chalicelib.api.pushing import a_request
from tests.support.access import REALM, SERVICE, AccessWorld, basic
from tests.support.description import template
from tests.support.registries import MemoryRegistry, registry_in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chalicelib.page import Page
    from chalicelib.registry.model import CatalogRow

OPTIONS = ApiOptions(1024, HeadStrategy.BODY, 4096, realm=REALM, service=SERVICE)
BLOB = b"a blob of the team"
DIGEST = Digest.of(BLOB)
ANYTHING = frozenset({"pull", "push", "delete"})

PRIVATE, NOWHERE, PUBLIC, FOREIGN = "team/app", "team/none", "open/app", "other/app"
REPOSITORIES = (PRIVATE, NOWHERE, PUBLIC, FOREIGN)
TEAM = frozenset({PRIVATE, NOWHERE})

LOGINS: dict[str, tuple[list[str], dict[str, frozenset[str]]]] = {
    "reader": (["team/*:pull"], dict.fromkeys(TEAM, frozenset({"pull"}))),
    "writer": (["team/*:pull,push"], dict.fromkeys(TEAM, frozenset({"pull", "push"}))),
    "pusher": (["team/*:push"], dict.fromkeys(TEAM, frozenset({"push"}))),
    "cleaner": (["team/*:pull,delete"], dict.fromkeys(TEAM, frozenset({"pull", "delete"}))),
    "keeper": (["team/*:push,delete"], dict.fromkeys(TEAM, frozenset({"push", "delete"}))),
    "foreigner": (["other/app:pull,push,delete"], {FOREIGN: ANYTHING}),
    "admin": (["admin"], dict.fromkeys(REPOSITORIES, ANYTHING)),
    "useless": ([], {}),
}
"""Each login's grants, and the rights that they give, written down a second time."""

SHORT = {"short push": {"push"}, "short pull": {"pull"}}
"""Tokens with fewer scopes than the login has rights."""

FORMS = ("basic", "token", *SHORT)
CHALLENGE = f'Bearer realm="{REALM}",service="{SERVICE}"'


@dataclass
class World:
    """A registry with access control, and a blob in three of four repositories."""

    memory: MemoryRegistry = field(default_factory=lambda: registry_in_memory(Limits()))

    def __post_init__(self) -> None:
        self.access = AccessWorld(self.memory.clock.now)
        now, registry = self.memory.clock.now, lambda: self.memory.registry
        granted = GrantedAccess(self.access.store, now, registry, self.access.cursors)
        self.tokens = self.access.token_service()
        self.api = Api(registry, OPTIONS, granted, lambda: self.tokens)
        self.passwords = {
            name: self.access.credential(name, *grants) for name, (grants, _) in LOGINS.items()
        }
        for name in (PRIVATE, PUBLIC, FOREIGN):
            digest = Digest.of(BLOB)
            self.memory.registry.uploads.put_whole(name, "x", digest, BLOB)
            self.memory.metadata.add_repository(name)
        self.access.store.set_public(PUBLIC, public=True)

    def header(self, login: str, form: str, repository: str) -> str:
        """Return a login's Authorization header for requests to a repository."""
        if form == "basic":
            return basic(login, self.passwords[login])
        actions = ",".join(sorted(SHORT.get(form, ANYTHING)))
        catalog = "registry:catalog:*" if form == "token" else ""
        return self.bearer(login, f"repository:{repository}:{actions} {catalog}")

    def bearer(self, login: str | None, scopes: str) -> str:
        """Return a header with a bearer token of a login; None: an anonymous one."""
        request = TokenRequest(parse_scopes([scopes]), "test")
        if login is None:
            return f"Bearer {self.tokens.anonymous(request).token}"
        return f"Bearer {self.tokens.password(self.passwords[login], request).token}"

    def ask(self, method: str, target: str, header: str | None, body: bytes = b"") -> Response:
        """Send a request by way of the authorizer, whose own 401 has no body."""
        context = {} if header is None else self.access.authorizer(header)
        return Response(401) if context is None else self.send(method, target, context, body)

    def send(
        self, method: str, target: str, context: Mapping[str, str], body: bytes = b""
    ) -> Response:
        """Send a request with an authorizer's context."""
        request = a_request(method, target, self.memory.clock.now(), body)
        return self.api(request._replace(authorizer=context))


def target_of(route: Route, repository: str) -> str:
    """Return a path of an endpoint."""
    _, path = template(route)
    named = {"name": repository, "digest": DIGEST, "reference": "v1", "session": "0" * 36}
    named["file"] = "page.css"
    return path.removeprefix("/v2").removeprefix("/").format_map(named)


def expected(login: str, form: str, action: Action, repository: str) -> int | None:
    """Return the expected status of a refusal; None where the request is allowed."""
    rights = LOGINS[login][1].get(repository, frozenset())
    if action in {Action.TOKEN, Action.PING, Action.PAGE}:
        return None
    if action is Action.CATALOG:
        if not LOGINS[login][0]:
            return 403
        return 401 if form in SHORT else None
    here = rights | ({"pull"} if repository == PUBLIC else set())
    if action not in here:
        return 403
    held = here & SHORT.get(form, ANYTHING)
    # Clients that are about to delete ask for a token to push.
    held |= {"delete"} if "push" in held else set()
    return None if form == "basic" or action in held else 401


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("login", LOGINS)
def test_each_login_may_do_what_its_grants_and_scopes_allow(login: str, form: str) -> None:
    """Each login, in each form, at every endpoint of every repository."""
    world = World()
    wrong = []
    for repository in REPOSITORIES:
        header = world.header(login, form, repository)
        for route in ROUTES:
            if route.action is Action.TOKEN:
                continue  # no authorizer runs before it, and it has its own tests
            target = target_of(route, repository)
            answer = world.ask(route.method, target, header)
            status = answer.status if answer.status in {401, 403} else None
            each = {expected(login, form, action, repository) for action in route.actions}
            if status != (403 if 403 in each else 401 if 401 in each else None):
                wrong.append((route.method, target, answer.status))
    assert wrong == []


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: " ".join(template(route)))
def test_without_a_login_there_is_a_challenge(route: Route) -> None:
    """Exceptions are public repositories, the token endpoint and the page."""
    world = World()
    for repository in REPOSITORIES:
        answer = world.ask(route.method, target_of(route, repository), None)
        anybody = repository == PUBLIC and route.action is Action.PULL
        if anybody or route.action in {Action.TOKEN, Action.PAGE}:
            assert answer.status not in {401, 403}
            continue
        assert answer.status == 401
        assert CHALLENGE in str(answer.headers["WWW-Authenticate"])


def test_a_refusal_says_nothing_of_what_exists() -> None:
    """What exists and what does not is refused with the same answer."""
    world = World()
    for login, form in (("foreigner", "basic"), ("pusher", "basic"), ("useless", "token")):
        for route in ROUTES:
            if "{name}" not in template(route)[1]:
                continue
            answers = set()
            for repository in (PRIVATE, NOWHERE):
                header = world.header(login, form, repository)
                answer = world.ask(route.method, target_of(route, repository), header)
                if answer.status in {401, 403}:
                    answers.add((answer.status, answer.body))
            assert len(answers) <= 1


@pytest.mark.parametrize("login", ["pusher", "short push"])
def test_a_login_that_may_only_push_learns_no_sizes_and_no_presence(login: str) -> None:
    """A blob in a wrong size is refused like a missing blob.

    A subject is taken whatever its size; and a blob is uploaded as if it were not there.
    """
    world = World()
    if login == "pusher":
        header = world.header(login, "basic", PRIVATE)
    else:
        header = world.header("writer", login, PRIVATE)
    manifest = "application/vnd.oci.image.manifest.v1+json"

    def put(size: int, digest: Digest, subject: int | None = None) -> Response:
        """Push a manifest with a config of this digest and size, and with a subject."""
        config = {"mediaType": "application/octet-stream", "digest": str(digest), "size": size}
        document = {"schemaVersion": 2, "mediaType": manifest, "config": config, "layers": []}
        if subject is not None:
            about = {"mediaType": manifest, "digest": str(stored), "size": subject}
            document |= {"subject": about}
        body, target = json.dumps(document).encode(), f"{PRIVATE}/manifests/v1"
        context = world.access.authorizer(header)
        request = a_request("PUT", target, world.memory.clock.now(), body, content_type=manifest)
        return world.api(request._replace(authorizer=context or {}))

    whole = put(len(BLOB), DIGEST)
    assert whole.status == 201
    stored = whole.headers["Docker-Content-Digest"]
    refused = [put(size, DIGEST) for size in (1, len(BLOB) + 1)]
    refused += [put(len(BLOB), Digest.of(b"nowhere")), put(1, Digest.of(b"nowhere"))]
    assert {(each.status, each.body) for each in refused} == {(404, refused[0].body)}
    assert {put(len(BLOB), DIGEST, subject).status for subject in (1, 9_999)} == {201}
    for query in (f"mount={DIGEST}&from={PRIVATE}", f"mount={DIGEST}", f"digest={DIGEST}"):
        assert world.ask("POST", f"{PRIVATE}/blobs/uploads?{query}", header).status == 202
    for method in ("HEAD", "GET"):
        answers = [
            world.ask(method, f"{PRIVATE}/blobs/{digest}", header)
            for digest in (DIGEST, Digest.of(b"nowhere"))
        ]
        assert answers[0] == answers[1]
        assert answers[0].status in {401, 403}


MOUNT = f"{PRIVATE}/blobs/uploads?mount={DIGEST}&from={FOREIGN}"


@pytest.mark.parametrize(
    ("method", "target", "scope"),
    [
        ("GET", f"{PRIVATE}/tags/list", f"repository:{PRIVATE}:pull"),
        ("POST", f"{PRIVATE}/blobs/uploads", f"repository:{PRIVATE}:pull,push"),
        ("DELETE", f"{PRIVATE}/manifests/v1", f"repository:{PRIVATE}:delete"),
        ("GET", "_catalog", "registry:catalog:*"),
        ("POST", MOUNT, f"repository:{PRIVATE}:pull,push repository:{FOREIGN}:pull"),
    ],
)
def test_a_challenge_names_the_scopes(method: str, target: str, scope: str) -> None:
    """It names the scopes that the token needs; for a mount those of both repositories."""
    answer = World().ask(method, target, None)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == f'{CHALLENGE},scope="{scope}"'


@pytest.mark.parametrize(
    ("login", "form", "source", "status"),
    [
        ("writer", "basic", PRIVATE, 201),
        ("writer", "basic", PUBLIC, 201),
        ("writer", "basic", FOREIGN, 202),
        ("writer", "basic", "team/other", 202),
        ("pusher", "basic", PRIVATE, 202),
        ("admin", "basic", FOREIGN, 201),
        # The token names the target only: the source is outside of it.
        ("writer", "token", PRIVATE, 202),
        ("admin", "token", FOREIGN, 202),
        # Clients ask for both when a mount's challenge says so, or of their own accord.
        ("writer", f"repository:{NOWHERE}:pull,push repository:{PRIVATE}:pull", PRIVATE, 201),
    ],
)
def test_a_mount_needs_pull_on_its_source(login: str, form: str, source: str, status: int) -> None:
    """Without it the answer is that of a mount whose source lacks the blob."""
    world = World()
    named = form not in FORMS
    header = world.bearer(login, form) if named else world.header(login, form, NOWHERE)
    target = f"{NOWHERE}/blobs/uploads?mount={DIGEST}&from={source}"
    assert world.ask("POST", target, header).status == status


SESSION_REQUESTS: dict[str, Callable[[str], tuple[str, str, bytes]]] = {
    "status": lambda at: ("GET", at, b""),
    "append": lambda at: ("PATCH", f"{at}?at=4", b"more"),
    "append nothing": lambda at: ("PATCH", f"{at}?at=4", b""),
    "commit": lambda at: ("PUT", f"{at}?digest={Digest.of(b'some')}", b""),
    "cancel": lambda at: ("DELETE", at, b""),
}


@pytest.mark.parametrize("request_name", SESSION_REQUESTS)
@pytest.mark.parametrize("thief", ["another login", "another repository", "another login's token"])
def test_an_upload_session_is_404_to_everybody_else(request_name: str, thief: str) -> None:
    """That includes admins, and the same principal under another repository's name."""
    world = World()
    owner = world.header("writer", "basic", PRIVATE)
    opened = world.ask("POST", f"{PRIVATE}/blobs/uploads", owner)
    at = str(opened.headers["Location"]).removeprefix("/v2/").partition("?")[0]
    assert world.ask("PATCH", f"{at}?at=0", owner, b"some").status == 202
    login = "writer" if thief == "another repository" else "admin"
    form = "token" if thief == "another login's token" else "basic"
    stolen = at.replace(PRIVATE, NOWHERE) if thief == "another repository" else at
    method, target, body = SESSION_REQUESTS[request_name](stolen)
    answer = world.ask(method, target, world.header(login, form, PRIVATE), body)
    assert answer.status == 404
    assert json.loads(answer.body)["errors"][0]["code"] == "BLOB_UPLOAD_UNKNOWN"
    session = at.rpartition("/")[2]
    kept = world.memory.registry.uploads.status(Owner(PRIVATE, "credential:id-of-writer"), session)
    assert (kept.offset, kept.holder) == (4, None)
    method, target, body = SESSION_REQUESTS[request_name](at)
    assert world.ask(method, target, owner, body).status in {201, 202, 204}


def names(answer: Response) -> list[str]:
    """Return the names in a catalog."""
    assert answer.status == 200, answer.body
    return list(json.loads(answer.body)["repositories"])


def test_the_catalog_shows_what_the_caller_may_pull() -> None:
    """That is what its grants allow, and public repositories."""
    world = World()
    for login, (grants, rights) in LOGINS.items():
        answer = world.ask("GET", "_catalog", world.header(login, "basic", PRIVATE))
        pulled = {name for name in (PRIVATE, FOREIGN) if "pull" in rights.get(name, ())}
        assert not grants or names(answer) == sorted({PUBLIC} | pulled)


def test_pages_of_the_catalog_show_no_hidden_name() -> None:
    """Each page is full while there is more to show, and links to the last name that it shows."""
    world = World()
    for number in range(40):
        world.memory.metadata.add_repository(f"hidden/{number:02}")
        world.memory.metadata.add_repository(f"team/{number:02}")
    header = world.header("reader", "basic", PRIVATE)
    seen: list[str] = []
    target = "_catalog?n=7"
    while target:
        answer = world.ask("GET", target, header)
        page = names(answer)
        link = str(answer.headers.get("Link", ""))
        assert "hidden" not in link
        assert len(page) == 7 or not link
        assert not set(page) & set(seen)
        seen += page
        target = link.partition(">")[0].removeprefix("</v2/")
    assert seen == sorted([PUBLIC, PRIVATE, *(f"team/{number:02}" for number in range(40))])


def test_a_revoked_login_is_refused_at_the_next_request() -> None:
    """So is a pull from a repository made private, though the gateway caches the context."""
    world = World()
    contexts = [
        world.access.authorizer(world.header("writer", form, PRIVATE))
        for form in ("basic", "token")
    ]
    stranger = world.bearer(None, f"repository:{PUBLIC}:pull")
    assert world.ask("GET", f"{PUBLIC}/blobs/{DIGEST}", stranger).status == 200
    world.access.store.set_public(PUBLIC, public=False)
    assert world.ask("GET", f"{PUBLIC}/blobs/{DIGEST}", stranger).status == 401
    world.access.store.revoke("id-of-writer")
    for context in contexts:
        assert context is not None
        assert world.send("GET", f"{PRIVATE}/blobs/{DIGEST}", context).status == 401


@pytest.mark.parametrize("number", [1, 7, 40])
def test_a_page_of_the_catalog_reads_no_more_than_ten_pages(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is short, or empty, where many names are hidden; its Link goes on, and shows none of them.

    By following the links the client sees each name once, in order.
    """
    monkeypatch.setattr(lists, "PAGE", 3)
    monkeypatch.setattr(lists, "READS", 2)
    world, reads = World(), 0
    hidden = [f"hidden/{number:03}" for number in range(40)]
    shown = [f"team/{number:03}" for number in range(9)]
    for name in (*hidden, *shown, *(f"unseen/{number:03}" for number in range(9))):
        world.memory.metadata.add_repository(name)
    listed = world.memory.metadata.list_repositories

    def counted(after: str | None, limit: int, prefix: str) -> Page[CatalogRow]:
        nonlocal reads
        reads += 1
        return listed(after, limit, prefix)

    monkeypatch.setattr(world.memory.metadata, "list_repositories", counted)
    header = world.header("reader", "basic", PRIVATE)
    seen: list[str] = []
    target, links = f"_catalog?n={number}", list[str]()
    while target:
        reads = 0
        answer = world.ask("GET", target, header)
        assert reads <= 2
        seen += names(answer)
        links.append(str(answer.headers.get("Link", "")))
        target = unquote(links[-1].partition(">")[0].removeprefix("</v2/"))
    assert seen == sorted([PUBLIC, PRIVATE, *shown])
    cursors = [link for link in links if "last=~" in unquote(link)]
    assert cursors
    assert len({len(link) for link in cursors}) == 1
    assert not re.search("hidden|unseen|other", "".join(links))


@pytest.mark.parametrize("last", ["~", "~hidden/1", "~gAAAAA", "~" + "A" * 5000, "~\u00e9"])
def test_a_wrong_cursor_is_400(last: str) -> None:
    """The client must begin anew; a caller who sees everything may name any text."""
    world = World()
    target = f"_catalog?last={quote(last)}"
    answer = world.ask("GET", target, world.header("reader", "basic", PRIVATE))
    assert (answer.status, json.loads(answer.body)["errors"][0]["code"]) == (400, "REQUEST_INVALID")
    assert names(world.ask("GET", target, world.header("admin", "basic", PRIVATE))) == []


def test_without_a_login_nobody_learns_who_pushed() -> None:
    """Tags and images of a public repository are shown without the principals."""
    world = World()
    header = world.header("admin", "basic", PUBLIC)
    blob = {"mediaType": "application/octet-stream", "digest": str(DIGEST), "size": len(BLOB)}
    kind = "application/vnd.oci.image.manifest.v1+json"
    document = {"schemaVersion": 2, "mediaType": kind, "config": blob, "layers": []}
    body = json.dumps(document).encode()
    assert world.ask("PUT", f"{PUBLIC}/manifests/v1", header, body).status == 201

    for target in ("tags", "images", f"images/{Digest.of(body)}"):
        shown = json.loads(world.ask("GET", f"{PUBLIC}/_moorage/{target}", header).body)
        to_anybody = json.loads(world.ask("GET", f"{PUBLIC}/_moorage/{target}", None).body)
        assert '"credential:' in json.dumps(shown)
        assert "credential" not in json.dumps(to_anybody)
        assert _without_principals(shown) == _without_principals(to_anybody)


@pytest.mark.parametrize(("login", "all_of_it"), [("admin", True), ("cleaner", False)])
def test_a_login_that_sees_not_all_learns_nothing_of_others(login: str, all_of_it: bool) -> None:  # noqa: FBT001 - a row
    """It gets no number of sharing repositories, and nothing by what a deletion frees."""
    world = World()
    kind = "application/vnd.oci.image.manifest.v1+json"
    named = {"mediaType": "application/octet-stream", "digest": str(DIGEST), "size": len(BLOB)}
    document = {"schemaVersion": 2, "mediaType": kind, "config": named, "layers": [named]}
    body = json.dumps(document).encode()
    admin, header = (world.header(each, "basic", PRIVATE) for each in ("admin", login))
    assert world.ask("PUT", f"{PRIVATE}/manifests/v1", admin, body).status == 201

    def shown(target: str) -> dict[str, Any]:
        answer = world.ask("GET", f"{PRIVATE}/_moorage/{target}", header)
        assert answer.status == 200
        return dict(json.loads(answer.body))

    (layer,) = shown(f"images/{Digest.of(body)}")["layers"]
    assert layer["repositories"] == (3 if all_of_it else None)
    deletion = shown(f"deletion?digest={Digest.of(body)}")
    assert deletion["unused_bytes"] == len(BLOB)
    assert deletion["freed_bytes"] == (0 if all_of_it else None)


@pytest.mark.parametrize(("login", "all_of_it"), [("admin", True), ("reader", False)])
def test_facts_of_a_repository_say_nothing_of_others(login: str, all_of_it: bool) -> None:  # noqa: FBT001 - a row
    """Without a login that sees all, shares are unknown, and the price is for all its links.

    Other repositories' facts are nowhere.
    """
    world = World()
    gigabyte = 10**9
    facts = CatalogFacts(
        1e9, 1, 1, 0, 3 * gigabyte, unused_bytes=5, own_bytes=gigabyte, billed_bytes=2 * gigabyte
    )
    for name in (PRIVATE, FOREIGN):
        world.memory.metadata.note_facts(name, facts)
    header = world.header(login, "basic", PRIVATE)
    whole = json.loads(world.ask("GET", "_moorage/repositories", header).body)["repositories"]
    rows = {row["name"]: row["facts"] for row in whole}
    assert (FOREIGN in rows) is all_of_it
    shown = rows[PRIVATE]
    answer = world.ask("GET", f"{PRIVATE}/_moorage/usage", header)
    assert json.loads(answer.body) == {"name": PRIVATE, "facts": shown}
    assert shown["linked_bytes"] == 3 * gigabyte
    assert shown["unused_bytes"] == 5
    assert shown["shared_bytes"] == (2 * gigabyte if all_of_it else None)
    parts = 2 if all_of_it else 3
    assert shown["usd_month"] == pytest.approx(stored_for_a_month(parts * gigabyte), abs=1e-4)
    assert world.ask("GET", f"{FOREIGN}/_moorage/usage", header).status == (
        200 if all_of_it else 403
    )


def _without_principals(value: object) -> object:
    if isinstance(value, list):
        return [_without_principals(each) for each in value]
    if not isinstance(value, dict):
        return value
    left_out = {"pushed_by", "tagged_by", "runs", "may_delete"}
    return {name: _without_principals(each) for name, each in value.items() if name not in left_out}
