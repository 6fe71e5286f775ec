"""`moorage login`: logs a client program in as this machine's AWS identity, or as this CI job.

A proof of identity from AWS, GitHub or GitLab is exchanged at the registry for a bearer token of an
hour. This module must never show a proof, nor a token but the one that --print asks for. It must
never request a proof for another registry than the one that was named, where it could be used.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlencode

from chalicelib.access.credentials import is_api_token
from chalicelib.strict_json import is_whole
from moorage.common.errors import UsageError
from moorage.common.extras import require
from moorage.common.http import (
    HttpResponse,
    bearer_challenge,
    host_of,
    http_url,
    is_loopback,
    origin,
    registry_url,
    whole_number,
)
from moorage.login import tools as login_tools
from moorage.login.http import LoginError, call, require_safe

_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a name, not a secret
_AWS_IDENTITY = "urn:moorage:params:oauth:token-type:aws-identity"

_TOKEN = re.compile(r"[!-~]{1,16384}")
_URL_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_URL"
_TOKEN_VARIABLE = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - a variable's name
_OK, _UNAUTHORIZED, _TOO_MANY = 200, 401, 429
_MINUTE = 60


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """The registry, one proof of identity, and the client program.

    Exactly one of the five fields after `registry` is set. Without a `tool` it is the first one on
    PATH; `print_token` prints the token instead. `service` is the registry's own host, if it is
    behind the address in `registry`: proofs are made for it, and tokens are sent to it.
    """

    registry: str
    aws: bool = False
    oidc: bool = False
    oidc_env: str | None = None
    oidc_token_file: Path | None = None
    password_stdin: bool = False
    tool: str | None = None
    print_token: bool = False
    scopes: Sequence[str] = ()
    service: str | None = None


@dataclass(frozen=True, slots=True)
class LoginTarget:
    """A registry that asks for tokens: its URL, its token endpoint, the service that it names."""

    url: SplitResult
    realm: str
    service: str

    @property
    def host(self) -> str:
        """The host that clients write before a repository's name."""
        return host_of(self.url)


@dataclass(frozen=True, slots=True)
class ReceivedToken:
    """A token, and for how many seconds it is good (0: unknown)."""

    token: str = field(repr=False)
    seconds: int = 0


def run(options: LoginOptions) -> None:
    """Log in; raises LoginError, UsageError."""
    if options.scopes and not options.print_token:
        raise UsageError("--scope is for --print: a client program asks for its own scopes")
    tool = None if options.print_token else login_tools.choose(options.tool)
    registry = discover(options.registry, options.service)
    issued = _issued(registry, options)
    if tool is None:
        sys.stdout.write(f"{issued.token}\n")
    else:
        plain = registry.url.scheme == "http"
        login_tools.log_in(tool, registry.host, issued.token, plain=plain)
    done = "a token" if tool is None else f"{tool} is logged in"
    limit = f", for {issued.seconds // _MINUTE} minutes" if issued.seconds else ""
    sys.stderr.write(f"{registry.host}: {done}{limit}\n")


def discover(address: str, own_host: str | None) -> LoginTarget:
    """Return a registry's token endpoint, from its challenge; raises LoginError.

    It must be at the host of `address`, or at `own_host`.
    Source: Docker Registry v2 token authentication.
    """
    url = registry_url(address)
    answer = call(f"{origin(url)}/v2/")
    if answer.status == _OK:
        raise LoginError(f"{origin(url)} is open: it lets everybody in, without logging in")
    if answer.status != _UNAUTHORIZED:
        raise LoginError(
            f"{origin(url)} answers with status {answer.status} where a registry would ask for a"
            " login: look at the address"
        )
    challenge = _challenge(answer)
    realm, service = challenge.get("realm", ""), challenge.get("service", "")
    if not realm or not service:
        raise LoginError(f"{origin(url)} asks for a login, but for no token: it is no Moorage")
    _require_own(require_safe(realm), url, own_host)
    return LoginTarget(url, realm, service)


def _issued(registry: LoginTarget, options: LoginOptions) -> ReceivedToken:
    scope = {"scope": " ".join(options.scopes)} if options.scopes else {}
    if options.password_stdin:
        password = _line(sys.stdin.read(), "stdin")
        if not is_api_token(password):
            raise LoginError("stdin holds no API token: a whole one begins with `moor_`")
        if not options.print_token:
            return ReceivedToken(password)
        form = {"grant_type": "password", "username": login_tools.USER, "password": password}
    else:
        proof, kind = _proof(registry, options)
        form = {"grant_type": _EXCHANGE, "subject_token": proof, "subject_token_type": kind}
    answer = call(registry.realm, form={**form, "service": registry.service, **scope})
    return _read(registry, answer, scoped=bool(scope))


def _proof(registry: LoginTarget, options: LoginOptions) -> tuple[str, str]:
    """Return a proof of identity, and its type."""
    if options.oidc_token_file is not None:
        return _from_file(options.oidc_token_file), _ID_TOKEN
    if options.oidc_env is not None:
        return _from_variable(options.oidc_env), _ID_TOKEN
    service = _own_service(registry, options.service)
    if options.oidc:
        return _from_github(service), _ID_TOKEN
    return _from_aws(service), _AWS_IDENTITY


def _own_service(registry: LoginTarget, named: str | None) -> str:
    """Return the service that the registry names, if it is the registry that the user named.

    A proof is made for that service. A registry that could name another one would get a proof for
    somebody else's registry, or for AWS, and could use it there.
    """
    service = registry.service
    both_here = is_loopback(registry.url) and _is_here(service)
    if service != (named or registry.host) and not (both_here and named is None):
        raise LoginError(
            f"{registry.host} calls itself {service[:100]!r}, and a proof would be made for that:"
            " log in at that address, or, if it is behind this one, give --service"
        )
    return service


def _is_here(service: str) -> bool:
    """Whether a service, which may be any text, is a host that is this machine."""
    try:
        return is_loopback(http_url(f"http://{service}"))
    except ValueError:
        return False


def _from_aws(service: str) -> str:
    # The SDK is slow to load, and only --aws needs it.
    require("aws")
    from moorage.common.aws import quiet_sdk  # noqa: PLC0415
    from moorage.login.aws import presigned_identity  # noqa: PLC0415

    quiet_sdk()
    return presigned_identity(service)


def _from_github(audience: str) -> str:
    url, token = os.environ.get(_URL_VARIABLE), os.environ.get(_TOKEN_VARIABLE)
    if not url or not token:
        raise LoginError(
            f"${_URL_VARIABLE} is not set: this is no job of GitHub Actions, or it lacks"
            " `permissions: id-token: write`"
        )
    address = f"{url}{'&' if '?' in url else '?'}{urlencode({'audience': audience})}"
    answer = call(address, headers={"Authorization": f"Bearer {token}"})
    identity = answer.json().get("value")
    if answer.status != _OK or not isinstance(identity, str):
        raise LoginError(f"GitHub gives no identity token ({answer.message()}): try again")
    return _line(identity, "GitHub's answer")


def _from_file(path: Path) -> str:
    try:
        return _line(path.read_text(encoding="ascii"), str(path))
    except OSError as error:
        raise LoginError(f"the identity token can't be read: {error}") from None
    except UnicodeError:
        raise LoginError(f"{path} holds no identity token") from None


def _from_variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise LoginError(f"${name} is not set: in GitLab, name it under `id_tokens` of the job")
    return _line(value, f"${name}")


def _line(text: str, where: str) -> str:
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise LoginError(f"{where} holds no token: one word of printable characters")
    return token


def _read(registry: LoginTarget, answer: HttpResponse, *, scoped: bool) -> ReceivedToken:
    content = answer.json()
    if answer.status == _TOO_MANY:
        seconds = whole_number(answer.headers.get("Retry-After", ""))
        wait = "a while" if seconds is None else f"{seconds} seconds"
        raise LoginError(f"{registry.host} has refused too often: wait {wait}")
    if answer.status == _UNAUTHORIZED:
        raise LoginError(
            f"{registry.host} doesn't let this identity in: ask its owner for a trust (`moorage"
            " trust list`), or for an API token that is still good"
        )
    token, seconds = content.get("access_token"), content.get("expires_in", 0)
    if answer.status != _OK or not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise LoginError(f"{registry.host} gave no token: {answer.message()}")
    if scoped and not content.get("scope"):
        raise LoginError(
            f"{registry.host} grants nothing of what --scope asks for: ask its owner for a grant"
        )
    return ReceivedToken(token, seconds if is_whole(seconds) else 0)


def _challenge(answer: HttpResponse) -> Mapping[str, str]:
    """Return the parameters of an answer's Bearer challenge; none if there is none."""
    headers = answer.headers.get_all("WWW-Authenticate", ())
    found = (bearer_challenge(str(header)) for header in headers)
    return next(filter(None, found), {})


def _require_own(realm: SplitResult, registry: SplitResult, own_host: str | None) -> None:
    """Raise LoginError unless a realm is the registry's own.

    A server at the address could name another server's realm, which would then get the token.
    """
    both_here = is_loopback(realm) and is_loopback(registry)
    if host_of(realm) not in {host_of(registry), own_host} and not both_here:
        named = host_of(realm)[:100]
        raise LoginError(
            f"{origin(registry)} sends its logins to {named}, which may not be its own: log in at"
            f" that address, or, if it is behind this one, give --service {named}"
        )
