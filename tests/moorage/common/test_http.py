"""What is read of URLs and headers that a server has sent, which may hold anything."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from moorage.common.chunked_upload import offset_of
from moorage.common.http import AddressError, http_url, last_kept_byte, safe_url, whole_number
from moorage.common.patience import Patience, UpstreamResponse

# int() refuses the longest of them, and takes what is written in another script.
NO_NUMBERS = ("", " 7", "-1", "+7", "7.0", "1e3", "7 seconds", "\u0667", "9" * 20, "9" * 5000)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_a_text_that_is_no_whole_number_is_read_as_none(text: str) -> None:
    """In a query, a Range and a Retry-After: it is as if nothing had been said."""
    assert whole_number(text) is None
    assert last_kept_byte({"Range": f"0-{text}"}) is None
    assert offset_of({"Location": f"/v2/x?at={text}", "Range": "0-4"}) == 5
    busy = UpstreamResponse(503, CIMultiDict({"Retry-After": text}), b"")
    assert Patience(60).delay(busy) < 1


def test_a_whole_number_is_read() -> None:
    """From 0 on, with zeros before it."""
    read = {text: whole_number(text) for text in ("0", "007", "9" * 19)}
    assert read == {"0": 0, "007": 7, "9" * 19: int("9" * 19)}


@pytest.mark.parametrize(
    ("location", "offset"),
    [
        ("/v2/x/1?at=7", 7),
        ("https://r.example.com/v2/x/1?a=b&at=1&at=7", 7),
        # No URL, or one without an offset: Range has it.
        *(("http://[", 5), ("//[?", 5), ("/v2/x/1", 5), ("?", 5), ("", 5), ("/v2/\udcff?at=", 5)),
        ("http://[?at=7", 7),
    ],
)
def test_an_offset_is_read_of_any_location(location: str, offset: int) -> None:
    """That it is no URL is found when a request is to go there."""
    assert offset_of({"Location": location, "Range": "0-4"}) == offset


@pytest.mark.parametrize(
    "url",
    [
        *("http://[", "http://[x]/", "//r.example.com/", "ftp://r.example.com/", "http:///", ""),
        *("http://r.example.com:99999/", "http://r.example.com:0/", "http://r.example.com:x/"),
        *(
            "http://r.example.com\\@other.example.com/",
            "http://a..b/",
            "http://.",
            "http://\u2100/",
        ),
        f"http://{'a' * 64}.example.com/",
    ],
)
def test_a_url_that_no_client_can_request_is_refused(url: str) -> None:
    """A ValueError for a server's word, an error that says what to write for a person's."""
    with pytest.raises(ValueError):  # noqa: PT011 - of urllib, of the codec, or its own
        http_url(url)
    with pytest.raises(AddressError, match="write it as https://"):
        safe_url(url)
