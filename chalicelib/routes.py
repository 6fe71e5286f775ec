"""THE table of routes: method, pattern, the action it needs, its operation.

The API dispatches by it, and the push proxy tells uploads and HEADs by it, so that both read a path
alike. An operation is a handler's module in chalicelib/api and its name. This module must never
handle anything itself, nor import what only the API needs.
"""

import enum
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from chalicelib.errors import NameInvalidError, UnsupportedError, UploadUnknownError
from chalicelib.reference import parse_name

OPTIONS = "OPTIONS"
"""The method that every endpoint has: it asks for the others."""

_LONGEST_SESSION, _LONGEST_TICKET = 64, 256
"""More characters than any session's id has, and any ticket; DynamoDB refuses long keys."""


class Action(enum.StrEnum):
    """What a principal must be allowed to do."""

    PING = "ping"
    PULL = "pull"
    PUSH = "push"
    DELETE = "delete"
    CATALOG = "catalog"
    TOKEN = "token"  # noqa: S105 - the name of an action
    PAGE = "page"


class RouteUnknownError(UnsupportedError):
    """A path that is no endpoint of the spec."""


class MethodUnknownError(UnsupportedError):
    """An endpoint that does not have this method; `allowed`: those it has."""

    def __init__(self, allowed: list[str]) -> None:
        super().__init__(f"this endpoint has {', '.join(allowed)}")
        self.allowed = allowed


class ServedBy(enum.Enum):
    """What a handler calls, and is given."""

    NOTHING = enum.auto()
    REGISTRY = enum.auto()
    TOKEN_SERVICE = enum.auto()


class Route(NamedTuple):
    """One row; `pattern` is matched against the path after /v2/, still percent-encoded.

    A regular expression, which is compiled when a request is first compared with it: a pull, whose
    rows are the first, compiles two or three.
    """

    method: str
    pattern: str
    action: Action
    operation: str
    served_by: ServedBy = ServedBy.REGISTRY
    takes_options: bool = False
    outlives_token: bool = False
    """Whether an expired token may still do it, in a session that was opened while it lived."""
    also: Action | None = None
    """Another action that the principal must be allowed, too."""

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that a principal must be allowed."""
        return (self.action,) if self.also is None else (self.action, self.also)


class RouteMatch(NamedTuple):
    """A row that fits a request, and what its pattern took from the path, decoded."""

    route: Route
    parameters: Mapping[str, str]


PAGE_FILES = ("page.css", "page.js", "views.js", "client.js", "dom.js")
"""What the page loads: chalicelib/web/. Each is a resource of the API that has no authorizer."""

_PING = ""
_TOKEN = "_token"  # noqa: S105 - a path
_CATALOG = "_catalog"
_DISCOVER = "_oci/ext/discover"
_DIRECTS = "(?P<name>.+)/_moorage/uploads"
_DIRECT = "(?P<name>.+)/_moorage/uploads/(?P<session>[^/]+)"
_DIRECT_PARTS = "(?P<name>.+)/_moorage/uploads/(?P<session>[^/]+)/parts"
_REPOSITORIES = "_moorage/repositories"
_TAG_ROWS = "(?P<name>.+)/_moorage/tags"
_IMAGES = "(?P<name>.+)/_moorage/images"
_IMAGE = "(?P<name>.+)/_moorage/images/(?P<digest>[^/]+)"
_USAGE = "(?P<name>.+)/_moorage/usage"
_DELETION = "(?P<name>.+)/_moorage/deletion"
_RETENTION = "(?P<name>.+)/_moorage/retention"
_HISTORY = "(?P<name>.+)/_moorage/history"
_RESTORE = "(?P<name>.+)/_moorage/restore"
_PAGE = "_moorage"
_PAGE_FILE = r"_moorage/(?!repositories\Z)(?P<file>[^/]+)"
_UPLOADS = "(?P<name>.+)/blobs/uploads"
_UPLOAD = "(?P<name>.+)/blobs/uploads/(?P<session>[^/]+)"
_BLOB = r"(?P<name>.+)/blobs/(?!uploads\Z)(?P<digest>[^/]+)"
_MANIFEST = "(?P<name>.+)/manifests/(?P<reference>[^/]+)"
_TAGS = "(?P<name>.+)/tags/list"
_REFERRERS = "(?P<name>.+)/referrers/(?P<digest>[^/]+)"

ROUTES = (
    Route("GET", _PING, Action.PING, "dispatch.ping", ServedBy.NOTHING),
    Route("HEAD", _PING, Action.PING, "dispatch.ping", ServedBy.NOTHING),
    Route("GET", _MANIFEST, Action.PULL, "manifests.get"),
    Route("HEAD", _MANIFEST, Action.PULL, "manifests.head", takes_options=True),
    Route("PUT", _MANIFEST, Action.PUSH, "manifests.put", takes_options=True),
    Route("DELETE", _MANIFEST, Action.DELETE, "manifests.delete"),
    Route("GET", _BLOB, Action.PULL, "blobs.get", takes_options=True),
    Route("HEAD", _BLOB, Action.PULL, "blobs.head", takes_options=True),
    Route("DELETE", _BLOB, Action.DELETE, "blobs.delete"),
    Route("POST", _UPLOADS, Action.PUSH, "uploads.start"),
    Route("GET", _UPLOAD, Action.PUSH, "uploads.status", outlives_token=True),
    Route("PATCH", _UPLOAD, Action.PUSH, "uploads.append", outlives_token=True),
    Route("PUT", _UPLOAD, Action.PUSH, "uploads.commit", outlives_token=True),
    Route("DELETE", _UPLOAD, Action.PUSH, "uploads.cancel"),
    Route("GET", _TOKEN, Action.TOKEN, "token.get", ServedBy.TOKEN_SERVICE),
    Route("HEAD", _TOKEN, Action.TOKEN, "token.get", ServedBy.TOKEN_SERVICE),
    Route("POST", _TOKEN, Action.TOKEN, "token.post", ServedBy.TOKEN_SERVICE),
    Route("GET", _CATALOG, Action.CATALOG, "lists.catalog"),
    Route("HEAD", _CATALOG, Action.CATALOG, "lists.catalog"),
    Route("GET", _DISCOVER, Action.PING, "direct.discover", ServedBy.NOTHING),
    Route("POST", _DIRECTS, Action.PUSH, "direct.start"),
    Route("GET", _DIRECT, Action.PUSH, "direct.status"),
    Route("PUT", _DIRECT, Action.PUSH, "direct.commit"),
    Route("DELETE", _DIRECT, Action.PUSH, "direct.cancel"),
    Route("POST", _DIRECT_PARTS, Action.PUSH, "direct.part_urls"),
    Route("GET", _PAGE, Action.PAGE, "page.document", ServedBy.NOTHING),
    Route("GET", _PAGE_FILE, Action.PAGE, "page.file", ServedBy.NOTHING),
    Route("GET", _REPOSITORIES, Action.CATALOG, "overviews.repositories"),
    Route("GET", _TAG_ROWS, Action.PULL, "overviews.tags"),
    Route("GET", _IMAGES, Action.PULL, "overviews.images"),
    Route("GET", _IMAGE, Action.PULL, "overviews.image"),
    Route("GET", _USAGE, Action.PULL, "overviews.usage"),
    Route("GET", _DELETION, Action.DELETE, "overviews.deletion", also=Action.PULL),
    Route("GET", _RETENTION, Action.PULL, "retention.retention"),
    Route("GET", _HISTORY, Action.PULL, "undo.history"),
    Route("POST", _RESTORE, Action.DELETE, "undo.restore", also=Action.PUSH),
    Route("GET", _TAGS, Action.PULL, "lists.tags"),
    Route("HEAD", _TAGS, Action.PULL, "lists.tags"),
    Route("GET", _REFERRERS, Action.PULL, "lists.referrers"),
    Route("HEAD", _REFERRERS, Action.PULL, "lists.referrers"),
)


def match(method: str, path: str) -> RouteMatch:
    """Find the row for a request and decode what its path names.

    Raises RouteUnknownError, MethodUnknownError, NameInvalidError.
    """
    for route in ROUTES:
        if route.method == method and (found := re.fullmatch(route.pattern, path)):
            return RouteMatch(route, _decoded(found.groupdict()))
    raise MethodUnknownError(methods(path))


def methods(path: str) -> list[str]:
    """Return the methods of the endpoint at a path; raises RouteUnknownError."""
    found = {route.method for route in ROUTES if re.fullmatch(route.pattern, path)}
    if not found:
        raise RouteUnknownError("no endpoint of the registry has this path")
    return sorted(found | {OPTIONS})


def _decoded(raw: Mapping[str, str]) -> dict[str, str]:
    decoded = {key: _segment(value, slash=key == "name") for key, value in raw.items()}
    if "name" in decoded:
        decoded["name"] = parse_name(decoded["name"])
    session = decoded.get("session", "")
    if len(session) > _LONGEST_TICKET or len(session.partition("~")[0]) > _LONGEST_SESSION:
        raise UploadUnknownError
    return decoded


def _segment(raw: str, *, slash: bool) -> str:
    """Decode a part of the path; raises NameInvalidError for an encoded slash, NUL, `.` or `..`."""
    try:
        parts = [unquote_to_bytes(part).decode() for part in raw.split("/")]
    except UnicodeError:
        raise NameInvalidError("the path is not UTF-8") from None
    if any("/" in part or "\0" in part for part in parts) or (len(parts) > 1 and not slash):
        raise NameInvalidError("the path holds an encoded slash or NUL")
    if any(part in {".", ".."} for part in parts):
        raise NameInvalidError("the path holds `.` or `..`")
    return "/".join(parts)
