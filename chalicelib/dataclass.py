"""The standard library's `dataclass`, whose methods are generated when the first value is made.

`dataclasses` writes and compiles six methods for each class while its module loads. A function that
starts makes values of few of the classes that it loads: waiting saves an eighth of the time to its
first answer (docs/coldstart.md). Nothing else is different, except that a class has no
`__dataclass_fields__` until it has a first value. Type checkers see the real decorator.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, **options: bool) -> type | partial:
        """Return `cls` with an `__init__` that generates all methods, and calls the new one."""
        if cls is None:
            return partial(dataclass, **options)

        def generate_and_init(self: object, *args: object, **named: object) -> None:
            _generate(cls)
            cls.__init__(self, *args, **named)

        _pending[cls] = options
        cls.__init__ = generate_and_init
        return cls


__all__ = ["dataclass"]

_pending: dict[type, dict[str, bool]] = {}
"""The classes without a value, and the options of each."""

_lock = RLock()


def _generate(cls: type) -> None:
    """Generate the methods of a class, and first those of its bases, whose fields it has too.

    Threads that make a first value meanwhile wait: `__init__` is replaced last, and never absent.
    The new one is that of a subclass with the same fields.
    """
    with _lock:
        for each in reversed(cls.__mro__):
            if (options := _pending.get(each)) is not None:
                dataclasses.dataclass(**options, init=False)(each)
                same_fields = type(each.__name__, (each,), {})
                init_alone = {"repr": False, "eq": False, "match_args": False}
                dataclasses.dataclass(**options | init_alone)(same_fields)
                each.__init__ = same_fields.__init__  # type: ignore[misc]
                del _pending[each]
