"""The token endpoint: HTTP in front of the token service, which alone decides who gets what.

A request to it is what loads this module, and by it PyJWT; no other request needs either.

Source: Docker Registry v2 token authentication; its OAuth2 form; RFC 6749, RFC 8693.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs

from chalicelib.access.authorization_header import Anonymous, Basic, Bearer, read_authorization
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes, ScopesTooLongError, parse_scopes, text_of
from chalicelib.access.token_service import (
    GrantType,
    IssuedToken,
    TokenRequest,
    TokenService,
)
from chalicelib.api.headers import VIEWER
from chalicelib.api.messages import Request, Response
from chalicelib.errors import RequestInvalidError

_LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
Parameters = Mapping[str, Sequence[str]]


def get(token_service: TokenService, request: Request) -> Response:
    """GET: a token for a user name and password, by Basic, or an anonymous one."""
    scopes = _scopes(request.query.get("scope", ()))
    offline = request.parameter("offline_token") == "true"
    wanted = TokenRequest(scopes, _source(token_service, request), offline=offline)
    match read_authorization(request.headers.get("authorization")):
        case Basic(password=password):
            issued = token_service.password(password, wanted)
        case Anonymous():
            issued = token_service.anonymous(wanted)
        case Bearer():
            raise AuthenticationError(Reason.SCHEME)
    return _answer(issued, {})


def post(token_service: TokenService, request: Request) -> Response:
    """POST: a token for a password, a refresh token, or another issuer's token."""
    form = _read(request)
    offline = _last(form, "access_type") == "offline"
    source = _source(token_service, request)
    wanted = TokenRequest(_scopes(form.get("scope", ())), source, offline=offline)
    name = _last(form, "grant_type")
    try:
        grant = GrantType(name or "")
    except ValueError:
        raise RequestInvalidError(f"grant_type must be one of {', '.join(GrantType)}") from None
    match grant:
        case GrantType.PASSWORD:
            _required(form, "username")
            issued = token_service.password(_required(form, "password"), wanted)
        case GrantType.REFRESH:
            issued = token_service.refresh(_required(form, "refresh_token"), wanted)
        case GrantType.EXCHANGE:
            kind, proof = _required(form, "subject_token_type"), _required(form, "subject_token")
            issued = token_service.exchange(kind, proof, wanted)
    more = {"scope": text_of(issued.scopes)}
    if grant is GrantType.EXCHANGE:
        more["issued_token_type"] = issued.kind
    return _answer(issued, {"token_type": "Bearer", **more})


def _source(token_service: TokenService, request: Request) -> str:
    """Return the client's address: that of a request through the edge is CloudFront's own."""
    said = request.headers.get(VIEWER)
    return (token_service.viewer(said) if said else None) or request.source


def _read(request: Request) -> Parameters:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise RequestInvalidError(f"the body must be a form: Content-Type: {_FORM}")
    if len(request.body) > _LARGEST_FORM:
        raise RequestInvalidError(f"a form of more than {_LARGEST_FORM} bytes")
    try:
        return parse_qs(
            request.body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        # Not chained: what can't be read may hold a password.
        raise RequestInvalidError("the form can't be read") from None


def _scopes(values: Sequence[str]) -> Scopes | None:
    """Read the scopes; None where none are named, unlike () where none is understood."""
    texts = [text for text in values if text.strip()]
    try:
        return parse_scopes(texts) if texts else None
    except ScopesTooLongError as error:
        raise RequestInvalidError(str(error)) from None


def _required(form: Parameters, name: str) -> str:
    value = _last(form, name)
    if not value:
        raise RequestInvalidError(f"the form lacks {name}")
    return value


def _last(parameters: Parameters, name: str) -> str | None:
    values = parameters.get(name)
    return values[-1] if values else None


def _answer(issued: IssuedToken, more: Mapping[str, str]) -> Response:
    issued_at = datetime.fromtimestamp(int(issued.issued_at), UTC)
    content: dict[str, object] = {
        # Clients read the one or the other.
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_at - int(issued.issued_at),
        "issued_at": issued_at.isoformat().replace("+00:00", "Z"),
        **more,
    }
    if issued.refresh_token is not None:
        content["refresh_token"] = issued.refresh_token
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(200, headers, json.dumps(content).encode())
