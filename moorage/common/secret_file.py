"""A file for a secret: whole or not there, and nobody else's to read at any moment."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_MODE = 0o600


@contextlib.contextmanager
def placed(path: Path, text: str) -> Iterator[None]:
    """Put a line of text at `path`, mode 0600, if the block ends well; else leave all as it was.

    It is written beforehand, so that a folder that takes no file is found out before anything is
    done that only the text makes useful. Raises OSError; should only the last step fail, the text
    is in the other file that the error names.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} can't be made: there is no folder {path.parent}")
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # O_EXCL: a file or link that somebody has put there is not written to.
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
