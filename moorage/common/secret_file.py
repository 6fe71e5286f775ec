"""A file for a secret: it is whole or absent, and never readable by other users."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_MODE = 0o600


@contextlib.contextmanager
def placed(path: Path | None, text: str) -> Iterator[None]:
    """Put a line of text at `path`, mode 0600, if the block ends well; else change nothing.

    Without a `path` only the block is run.

    The text is written to another file before the block, so that a folder that can't be written to
    is found before the block does what needs the text. Raises OSError; if only the last step fails,
    the error names the other file.
    """
    if path is None:
        yield
        return
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} can't be made: there is no folder {path.parent}")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # O_EXCL: a file or link that another user has put there is not written to.
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        yield
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    unfinished.replace(path)
