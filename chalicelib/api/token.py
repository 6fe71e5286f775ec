"""The token endpoint over HTTP. This module must never decide who gets what: the desk does.

Source: Docker Registry v2 token authentication; its OAuth2 form; RFC 6749, RFC 8693.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from chalicelib.access.authorization_header import Basic, Bearer, Nobody, read_authorization
from chalicelib.access.refusals import AuthenticationError, Reason
from chalicelib.access.scopes import Scopes, ScopesTooLongError, parse_scopes, text_of
from chalicelib.access.token_service import GrantType, IssuedToken, TokenRequest
from chalicelib.api.messages import Request, Response
from chalicelib.errors import RequestInvalidError

if TYPE_CHECKING:
    from chalicelib.access.token_service import TokenService

_LARGEST_FORM = 64 * 1024
_MOST_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
Parameters = Mapping[str, Sequence[str]]


def get(desk: "TokenService", request: Request) -> Response:
    """GET: a token for who says by Basic who it is, or for nobody in particular."""
    scopes = _scopes(request.query.get("scope", ()))
    offline = request.parameter("offline_token") == "true"
    ask = TokenRequest(scopes, request.source, offline=offline)
    match read_authorization(request.headers.get("authorization")):
        case Basic(user, password):
            issued = desk.password(user, password, ask)
        case Nobody():
            issued = desk.anonymous(ask)
        case Bearer():
            raise AuthenticationError(Reason.SCHEME)
    return _answer(issued, {})


def post(desk: "TokenService", request: Request) -> Response:
    """POST: a token for a password, a refresh token, or another issuer's token."""
    form = _read(request)
    offline = _last(form, "access_type") == "offline"
    ask = TokenRequest(_scopes(form.get("scope", ())), request.source, offline=offline)
    name = _last(form, "grant_type")
    try:
        grant = GrantType(name or "")
    except ValueError:
        raise RequestInvalidError(f"grant_type must be one of {', '.join(GrantType)}") from None
    issued = _GRANTS[grant](desk, form, ask)
    more = {"scope": text_of(issued.scopes)}
    if grant is GrantType.EXCHANGE:
        more["issued_token_type"] = issued.kind
    return _answer(issued, {"token_type": "Bearer", **more})


def _password(desk: "TokenService", form: Parameters, ask: TokenRequest) -> IssuedToken:
    return desk.password(_needed(form, "username"), _needed(form, "password"), ask)


def _refresh(desk: "TokenService", form: Parameters, ask: TokenRequest) -> IssuedToken:
    return desk.refresh(_needed(form, "refresh_token"), ask)


def _exchange(desk: "TokenService", form: Parameters, ask: TokenRequest) -> IssuedToken:
    kind = _needed(form, "subject_token_type")
    return desk.exchange(kind, _needed(form, "subject_token"), ask)


_GRANTS: Mapping[GrantType, Callable[["TokenService", Parameters, TokenRequest], IssuedToken]] = {
    GrantType.PASSWORD: _password,
    GrantType.REFRESH: _refresh,
    GrantType.EXCHANGE: _exchange,
}


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
        # Not chained: what can't be read may be a password all the same.
        raise RequestInvalidError("the form can't be read") from None


def _scopes(values: Sequence[str]) -> Scopes | None:
    """Read the scopes; None where none were named, which is not the same as none that we know."""
    texts = [text for text in values if text.strip()]
    try:
        return parse_scopes(texts) if texts else None
    except ScopesTooLongError as error:
        raise RequestInvalidError(str(error)) from None


def _needed(form: Parameters, name: str) -> str:
    value = _last(form, name)
    if not value:
        raise RequestInvalidError(f"the form lacks {name}")
    return value


def _last(asked: Parameters, name: str) -> str | None:
    values = asked.get(name)
    return values[-1] if values else None


def _answer(issued: IssuedToken, more: Mapping[str, str]) -> Response:
    issued_at = datetime.fromtimestamp(int(issued.issued_at), UTC)
    told: dict[str, object] = {
        # Clients read the one or the other.
        "token": issued.token,
        "access_token": issued.token,
        "expires_in": issued.expires_at - int(issued.issued_at),
        "issued_at": issued_at.isoformat().replace("+00:00", "Z"),
        **more,
    }
    if issued.refresh_token is not None:
        told["refresh_token"] = issued.refresh_token
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return Response(200, headers, json.dumps(told).encode())
