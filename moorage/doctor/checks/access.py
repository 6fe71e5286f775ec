"""Checks of access: the connection, the challenge, the token endpoint, the clocks, refusals.

This module must never send a password to a place that a check has found wrong.
"""

import time
from base64 import b64encode
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlencode, urlsplit

from moorage.common.http import HttpResponse, bearer_challenge, clean, is_loopback
from moorage.doctor.answers import error_code, fault, require, unexpected
from moorage.doctor.findings import FailedError, Finding, ok, skip, warn
from moorage.doctor.visit import Blob, UserPassword, Visit
from moorage.doctor.wire import quoted, wire_of

_OLD_TLS = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})
_FEW_DAYS = 14
_SHORTEST_TOKEN = 60
_SKEW, _LARGE_SKEW = 60, 15 * 60
_NOBODY = UserPassword("moorage-doctor", "not-a-password")
_REALM_ANSWERS = frozenset({200, 400, 401, 403, 429})
_LOGIN_REFUSED = frozenset({401, 429})
_PULL_REFUSED = frozenset({401, 403})
_NO_POST = frozenset({400, 404, 405})


def reach(visit: Visit) -> Finding:
    """Connect, and GET `/v2/` without a token."""
    if visit.wire.url.scheme == "http" and not visit.here:
        raise FailedError("http, and not on this machine: nothing was sent")
    secured = visit.wire.secured()
    visit.hello = visit.ask("GET", "/v2/")
    if secured is None:
        return ok("it answers, by http on this machine")
    days = secured.days()
    seen = f"{secured.version}; the certificate is good for {days} days"
    visit.facts["tls"] = seen
    if secured.version in _OLD_TLS:
        return warn(seen, "set the domain's security policy to TLS 1.2 or later")
    if days < _FEW_DAYS:
        return warn(seen, "renew the certificate, or find out why it isn't renewed by itself")
    return ok(seen)


def version(visit: Visit) -> Finding:
    """Check that `/v2/` answers as a registry."""
    hello = _hello(visit)
    if hello.status not in {200, 401}:
        # This check's own advice is about 403, API Gateway's answer to a wrong path.
        raise FailedError(f"/v2/ must be 200 or 401: {quoted(hello)}", fault(hello))
    api = hello.headers.get("Docker-Distribution-Api-Version", "")
    if api != "registry/2.0":
        raise FailedError(f"/v2/ is {hello.status}, with API version {clean(api) or '(none)'}")
    return ok(f"/v2/ is {hello.status}, registry/2.0")


def challenge(visit: Visit) -> Finding:
    """Check the challenge, and that its token endpoint answers."""
    hello = _hello(visit)
    if hello.status == 200:  # noqa: PLR2004 - no login is needed
        visit.facts["open"] = True
        open_text = "it is open: everybody may push, pull and delete"
        return ok(f"{open_text}, on this machine") if visit.here else warn(open_text)
    header = hello.headers.get("WWW-Authenticate")
    if header is None:
        renamed = "x-amzn-Remapped-WWW-Authenticate" in hello.headers
        raise FailedError(
            f"401 without WWW-Authenticate{', which has been renamed' if renamed else ''}"
        )
    found = bearer_challenge(header)
    if not found.get("realm") or not found.get("service"):
        raise FailedError(f"a challenge without Bearer, realm and service: {clean(header)}")
    answer = _at_realm(found, {"service": found["service"]}, visit)
    if answer.status not in _REALM_ANSWERS or not answer.json():
        raise FailedError(
            f"the realm {clean(found['realm'])} is no token endpoint: {quoted(answer)}",
            fault(answer),
        )
    visit.challenge = found
    return ok(f"Bearer, realm {clean(found['realm'])}, which answers")


def token(visit: Visit) -> Finding:
    """Log in, with scopes of the scratch repositories."""
    if not visit.challenge:
        return skip("the registry is open: nobody logs in")
    if visit.credentials is None:
        raise FailedError(
            "it asks for a login, and no password was given",
            "give --password-stdin or --token-file",
        )
    names = (visit.repository, visit.second)
    scopes = [*(f"repository:{name}:pull,push,delete" for name in names), "registry:catalog:*"]
    answer = login(visit, visit.credentials, " ".join(scopes))
    if answer.status in _LOGIN_REFUSED:
        raise FailedError(
            f"the password of {clean(visit.credentials.user)!r} is refused: {quoted(answer)}",
            "look whether the API token is whole, and in `moorage token list` whether it has"
            " expired or was revoked; after ten failures wait five minutes",
        )
    require(answer, 200, "the token endpoint")
    content = answer.json()
    issued, seconds = content.get("token") or content.get("access_token"), content.get("expires_in")
    if not isinstance(issued, str) or not issued:
        raise FailedError("200 from the token endpoint, without a token")
    visit.token = issued
    require(visit.ask("GET", "/v2/"), 200, "/v2/ with the token that was issued")
    if isinstance(seconds, int) and seconds < _SHORTEST_TOKEN:
        raise FailedError(f"a token that expires in {seconds} s", "let tokens live an hour")
    return _granted(visit, content.get("scope"), seconds)


def _granted(visit: Visit, scope: object, seconds: object) -> Finding:
    """Compare the granted scopes with the requested ones, where the answer names them."""
    life = (
        f"a token for {seconds} s" if isinstance(seconds, int) else "a token for 60 s (the default)"
    )
    grant = f"`moorage grant NAME --add '{visit.repository}/**:pull,push,delete'`"
    exact = f"`moorage grant NAME --add '{visit.repository}:pull,push,delete'`"
    if not isinstance(scope, str):
        return ok(f"{life}; its scopes aren't named")
    rights = {
        name: set(actions.split(","))
        for kind, _, rest in (part.partition(":") for part in scope.split())
        for name, _, actions in (rest.rpartition(":"),)
        if kind == "repository"
    }
    both = [rights.get(name, set()) for name in (visit.repository, visit.second)]
    lacking = [right for right in ("pull", "push") if not all(right in held for held in both)]
    if lacking:
        raise FailedError(
            f"no {' and '.join(lacking)} in {visit.repository} and below it",
            f"grant it: {exact} and {grant}; or name another --repository",
        )
    visit.may_delete = all("delete" in held for held in both)
    if not visit.may_delete:
        return warn(
            f"{life}, for pull and push, not delete: what is pushed stays",
            f"to let it be deleted: {exact} and {grant}",
        )
    return ok(f"{life}, for all that was asked")


def refusal(visit: Visit) -> Finding:
    """Try a wrong password, a wrong token, and no token."""
    if not visit.challenge:
        return skip("the registry is open: it refuses nobody")
    answer = login(visit, _NOBODY, f"repository:{visit.repository}:pull")
    if answer.status not in _LOGIN_REFUSED:
        raise FailedError(
            f"a made-up password must be refused: {quoted(answer)}", unexpected(answer)
        )
    for name, who in (("no token", {}), ("a made-up token", {"Authorization": "Bearer x.y.z"})):
        answer = visit.ask("GET", visit.v2(f"blobs/{visit.sample.digest}"), who=who)
        require(answer, 401, f"a pull with {name}")
    return ok("a made-up password, a made-up token and none are 401")


def clock(visit: Visit) -> Finding:
    """Compare the registry's clock with this machine's."""
    before = time.time()
    header = visit.ask("GET", "/v2/").headers.get("Date", "")
    middle = (before + time.time()) / 2
    try:
        skew = parsedate_to_datetime(header).timestamp() - middle
    except ValueError:
        return warn(f"no Date that can be read: {clean(header) or '(none)'}")
    # Date is in whole seconds, rounded down.
    skew = round(skew + 0.5)
    visit.facts["clock_skew_seconds"] = skew
    seen = f"the registry's clock is {abs(skew)} s {'ahead' if skew > 0 else 'behind'}"
    if abs(skew) > _LARGE_SKEW:
        raise FailedError(seen)
    return warn(seen) if abs(skew) > _SKEW else ok("the clocks agree" if abs(skew) <= 1 else seen)


def no_leak(visit: Visit) -> Finding:
    """Compare the answers to an unauthorized client about what is there and what isn't."""
    if not visit.challenge or visit.credentials is None:
        return skip("the registry is open: it hides nothing")
    answer = login(visit, visit.credentials, f"repository:{visit.second}:pull")
    narrow = require(answer, 200, "the token endpoint").json()
    elsewhere = narrow.get("token") or narrow.get("access_token")
    strangers = {
        "without a token": {},
        "with a token for something else": {"Authorization": f"Bearer {elsewhere}"},
    }
    missing = Blob(b"never pushed" + visit.sample.data).digest
    pairs = (
        (visit.v2(f"blobs/{visit.sample.digest}"), visit.v2(f"blobs/{missing}")),
        (visit.v2("tags/list"), visit.v2("tags/list", f"{visit.repository}-not-there")),
    )
    statuses = set()
    for name, who in strangers.items():
        for there, nowhere in pairs:
            first, second = visit.ask("GET", there, who=who), visit.ask("GET", nowhere, who=who)
            if (first.status, first.body) != (second.status, second.body):
                raise FailedError(
                    f"{name}: what is there is {quoted(first)}; what isn't is {quoted(second)}",
                    fault(first) or fault(second),
                )
            if first.status not in _PULL_REFUSED:
                raise FailedError(f"{name}: a pull must be refused: {quoted(first)}", fault(first))
            statuses.add(f"{first.status} {error_code(first)}")
    return ok(f"{', '.join(sorted(statuses))}: the same for what is there and what isn't")


def login(visit: Visit, credentials: UserPassword, scope: str) -> HttpResponse:
    """Ask the token endpoint for a token: by POST, which names the granted scopes, else by GET."""
    wanted = {"service": visit.challenge["service"], "scope": scope}
    password = {
        "grant_type": "password",
        "username": credentials.user,
        "password": credentials.password,
        "client_id": "moorage-doctor",
    }
    answer = _at_realm(visit.challenge, {}, visit, form={**password, **wanted})
    if answer.status not in _NO_POST:
        return answer
    basic = b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
    pairs = [("service", wanted["service"]), *(("scope", part) for part in scope.split())]
    return _at_realm(visit.challenge, pairs, visit, headers={"Authorization": f"Basic {basic}"})


def _at_realm(
    found: Mapping[str, str],
    query: Mapping[str, str] | list[tuple[str, str]],
    visit: Visit,
    *,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpResponse:
    realm = found["realm"]
    try:
        wire, target = wire_of(realm)
    except ValueError:
        raise FailedError(f"a realm that is no URL: {clean(realm)}") from None
    if wire.url.scheme != "https" and not is_loopback(wire.url):
        raise FailedError(f"a realm without TLS: {clean(realm)}")
    if is_loopback(wire.url) and not visit.here:
        raise FailedError(f"a realm on this machine: {clean(realm)}")
    if form is not None:
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return wire.ask("POST", target, kind, urlencode(form).encode())
    joint = "&" if urlsplit(target).query else "?"
    return wire.ask("GET", f"{target}{joint}{urlencode(query)}", headers)


def _hello(visit: Visit) -> HttpResponse:
    if visit.hello is None:
        raise FailedError("/v2/ was not requested yet")
    return visit.hello
