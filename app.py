"""What Chalice deploys: two route patterns that hand every request to the API, and the functions.

API Gateway's stage is named `v2`, so that its default URL is a registry. This module must never
hold logic.
"""

import os
from functools import partial
from typing import Any

from chalice.app import CloudWatchEvent, Rate, Response

from chalicelib import wiring
from chalicelib.api import log
from chalicelib.api.dispatch import answer
from chalicelib.api.messages import MoorageChalice, current, to_chalice

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

log.configure(os.environ)
app = MoorageChalice(app_name="moorage")


@app.route("/", methods=METHODS, content_types=[])
def root() -> Response:
    """Answer /v2/ itself."""
    return to_chalice(answer(wiring.api, partial(current, app)))


@app.route("/{proxy+}", methods=METHODS, content_types=[])
def below() -> Response:
    """Answer everything below /v2/; Chalice gives a greedy path to no argument."""
    return to_chalice(answer(wiring.api, partial(current, app)))


@app.lambda_function(name="commit")
def commit(event: dict[str, Any], context: object) -> None:
    """Drive a sealed session to its end; invoked asynchronously with {"session": id}."""
    del context
    wiring.commit_session(event["session"])


@app.schedule(Rate(1, unit=Rate.HOURS), name="sweep")
def sweep(event: CloudWatchEvent) -> None:
    """End what requests began and nobody came back for."""
    del event
    wiring.sweep()
