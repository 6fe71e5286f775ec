"""JSON that every reader takes for the same: UTF-8, no name twice, no number that some can't hold.

What is signed or addressed by its digest is read by other programs as well, and each must see in it
what Moorage saw. This module must never mend a text, nor return a part of one.
Source: RFC 8259; RFC 7493 (I-JSON), which refuses the same, but for large integers.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, NoReturn, TypeGuard

DEPTH = 100
"""Most objects and lists inside one another: fewer than any reader gives up at."""

_HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST = 2**63 - 1
"""What a reader with integers of 64 bits holds."""


class JsonInvalidError(ValueError):
    """A text that is no JSON object, or one that two readers could take differently."""


def read_object(data: bytes) -> dict[str, Any]:
    """Read a JSON object; raises JsonInvalidError, which says what is wrong with it.

    A number with a fraction or an exponent is a float, and so is -0: `is_whole` tells them apart.
    """
    try:
        text = data.decode()
        read = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
        _require_shallow(read)
        if _HALF_PAIR.search(text):
            # An escape can stand for half of a surrogate pair, which has no UTF-8.
            json.dumps(read, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise JsonInvalidError("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise JsonInvalidError("a string holds half of a surrogate pair") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise JsonInvalidError(str(error)) from None
    if not isinstance(read, dict):
        raise JsonInvalidError("it is not a JSON object")
    return read


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value that was read is a whole number, 0 or more, that 64 bits hold."""
    return type(value) is int and 0 <= value <= _LARGEST


def _distinct(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in pairs:
        if name in read:
            raise ValueError(f"it has {name[:100]!r} twice in one object")
        read[name] = value
    return read


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is too large a number")
    return number


def _integer(text: str) -> int | float:
    if text == "-0":
        return -0.0
    if len(text) > len(str(_LARGEST)) + 1:
        # Nothing here counts so far, and int() takes no more than some thousand digits.
        return _finite(text)
    return int(text)


def _require_shallow(read: object) -> None:
    """Refuse what is nested too deep: the readers' own limits differ."""
    level = [read] if isinstance(read, dict | list) else []
    for _ in range(DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> JsonInvalidError:
    return JsonInvalidError(f"it has more than {DEPTH} objects and lists inside one another")
