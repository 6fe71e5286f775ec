"""moto as the local registry runs it: an object is there once its multipart upload is gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from moorage.local.moto_server import WholeCompletes

if TYPE_CHECKING:
    from collections.abc import Iterable

WAIT = 20


def environ(method: str, path: str, query: str = "") -> dict[str, Any]:
    """Describe a request."""
    return {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query}


class Slow:
    """An application that stays in a Complete until it may go on, and notes whom it answered."""

    def __init__(self) -> None:
        self.completing = threading.Event()
        self.may_end = threading.Event()
        self.answered: list[str] = []

    def __call__(self, asked: dict[str, Any], _: object) -> Iterable[bytes]:
        """Answer with the method."""
        if asked["REQUEST_METHOD"] == "POST" and "uploadId" in asked["QUERY_STRING"]:
            self.completing.set()
            assert self.may_end.wait(WAIT)
        self.answered.append(f"{asked['REQUEST_METHOD']} {asked['PATH_INFO']}")
        yield asked["REQUEST_METHOD"].encode()


def ask(application: WholeCompletes, asked: dict[str, Any]) -> bytes:
    """Get the whole answer."""
    return b"".join(application(asked, lambda *_: None))


@pytest.mark.parametrize("later", [("HEAD", ""), ("GET", "uploadId=u"), ("POST", "uploadId=u")])
def test_a_request_for_an_object_that_is_being_completed_waits(later: tuple[str, str]) -> None:
    """Whether it is for the object or for its upload."""
    slow = Slow()
    application = WholeCompletes(slow)
    with ThreadPoolExecutor(2) as clients:
        complete = clients.submit(ask, application, environ("POST", "/b/k", "uploadId=u"))
        assert slow.completing.wait(WAIT)
        other = clients.submit(ask, application, environ(later[0], "/b/k", later[1]))
        assert ask(application, environ("HEAD", "/b/another")) == b"HEAD"
        assert ask(application, environ("POST", "/b/another", "uploads=")) == b"POST"
        assert not other.done()
        slow.may_end.set()
        assert complete.result(WAIT) == b"POST"
        assert other.result(WAIT) == later[0].encode()
    assert slow.answered[-2:] == ["POST /b/k", f"{later[0]} /b/k"]


def test_a_complete_that_fails_lets_others_go_on() -> None:
    """Whatever moto raises, no request waits for ever."""

    def broken(asked: dict[str, Any], _: object) -> Iterable[bytes]:
        if asked["REQUEST_METHOD"] == "POST":
            raise LookupError
        return [b"ok"]

    application = WholeCompletes(broken)
    with pytest.raises(LookupError):
        ask(application, environ("POST", "/b/k", "uploadId=u"))
    assert ask(application, environ("HEAD", "/b/k")) == b"ok"
