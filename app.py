"""What Chalice deploys: two route patterns that hand every request to the API, and the functions.

API Gateway's stage is named `v2`, so that its default URL is a registry. This module must never
hold logic.
"""

# ruff: noqa: E402 - the collector rests before anything else is imported
import gc

# Modules make objects that stay: looking through them for garbage only delays a cold start.
gc.disable()

import os
from functools import partial
from typing import Any

from chalice.app import AuthRequest, AuthResponse, AuthRoute, CloudWatchEvent, Rate, Response

from chalicelib.access.authorizer_context import to_context
from chalicelib.api.dispatch import answer
from chalicelib.api.messages import MoorageChalice, current, to_chalice
from chalicelib.routes import PAGE_FILES
from chalicelib.telemetry import log
from chalicelib.wiring import registry as wiring

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
CACHE_SECONDS = 60
"""How long API Gateway keeps the authorizer's result for an Authorization header."""

EXPIRED = AuthRoute("/*/blobs/uploads/*", ["GET", "PATCH", "PUT"])
"""All that API Gateway lets through with an expired token: see `outlives_token` of the routes.

It answers everything else itself, with a challenge; a challenge of the API it would rename.
"""

PAGE = ("/_moorage", *(f"/_moorage/{file}" for file in PAGE_FILES))

log.configure(os.environ)
app = MoorageChalice(app_name="moorage")


@app.authorizer(name="authorizer", ttl_seconds=CACHE_SECONDS)
def authorize(request: AuthRequest) -> AuthResponse:
    """Tell the gateway who sent a request; what they may do, dispatch decides at each request.

    The gateway keeps the answer for the token, so nothing in it may depend on this request.
    """
    from chalicelib.wiring import access  # noqa: PLC0415 - it loads PyJWT, which the API needs seldom

    principal = access.identify(request.token)
    if principal is None:
        raise Exception("Unauthorized")  # noqa: TRY002 - API Gateway's word for 401
    allowed: list[str | AuthRoute] = ["*"] if principal.expired_at is None else [EXPIRED]
    return AuthResponse(allowed, principal.id, to_context(principal))


@app.route("/", methods=METHODS, content_types=[], authorizer=authorize)
def root() -> Response:
    """Answer /v2/ itself."""
    return to_chalice(answer(wiring.api, partial(current, app)))


@app.route("/{proxy+}", methods=METHODS, content_types=[], authorizer=authorize)
def below() -> Response:
    """Answer everything below /v2/; Chalice gives a greedy path to no argument."""
    return to_chalice(answer(wiring.api, partial(current, app)))


def options() -> Response:
    """Answer what methods there are: no authorizer runs, for a browser asks without a login."""
    return to_chalice(answer(wiring.api, partial(current, app)))


for path in ("/", "/{proxy+}"):
    app.route(path, methods=["OPTIONS"], content_types=[])(options)


@app.route("/_token", methods=["GET", "HEAD", "POST", "OPTIONS"], content_types=[])
def token() -> Response:
    """Answer at the token endpoint: the request has its own login, so no authorizer runs before."""
    return to_chalice(answer(wiring.api, partial(current, app)))


def page() -> Response:
    """Answer the page and its files: they have no authorizer, for a browser has no login yet."""
    return to_chalice(answer(wiring.api, partial(current, app)))


for path in PAGE:
    app.route(path, methods=["GET"], content_types=[])(page)


@app.lambda_function(name="commit")
def commit(event: dict[str, Any], context: object) -> None:
    """Drive a sealed session to its end; invoked asynchronously with {"session": id}."""
    del context
    wiring.commit_session(event["session"])


@app.lambda_function(name="verify")
def verify(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Hash segments of a direct upload for a commit's driver, which waits for the answer."""
    del context
    return wiring.verify_segments(event)


@app.schedule(Rate(1, unit=Rate.HOURS), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    """Clean up the upload sessions and manifests that requests left unfinished."""
    del event
    wiring.sweep()


@app.schedule(Rate(1, unit=Rate.HOURS), name="collect")
def collect(event: CloudWatchEvent) -> None:
    """Apply the retention rules, and delete the blobs that nothing needs any more."""
    del event
    wiring.collect()


gc.freeze()
gc.enable()
