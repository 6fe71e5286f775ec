"""Upload sessions that outlast the command: a small file for each blob that is being uploaded.

The file has the session's location and offset. It is rewritten after each chunk in one write, so
that it stays readable if the command is killed. Two commands must never continue one session: the
file is locked.
"""

import fcntl
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Self

from chalicelib.digest import Digest

# A Moorage ends a session after seven days.
_LIFE = 8 * 24 * 3600
_LONGEST = 64 * 1024


def user_state(kind: str) -> Path:
    """Return the folder of what this user's commands keep of a kind."""
    base = os.environ.get("XDG_STATE_HOME")
    return Path(base or Path.home() / ".local" / "state", "moorage", kind)


def state_folder() -> Path:
    """Return the folder of this user's sessions."""
    return user_state("uploads")


class KeptSession:
    """The session of one blob, for a `with` block.

    Where another command has it, or the folder can't be written to, nothing is kept.
    """

    def __init__(self, repository: str, digest: Digest) -> None:
        key = hashlib.sha256(f"{repository}/{digest}".encode()).hexdigest()
        self._path = state_folder() / f"{key}.json"
        self._named = {"repository": repository, "digest": str(digest)}
        self._file: int | None = None
        self.location: str | None = None
        """The Location at which to continue; None if there is no session to continue."""

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._close()
            return self
        line = os.pread(self._file, _LONGEST, 0).partition(b"\n")[0]
        self.location = self._read(line)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self.location is None:
            self._path.unlink(missing_ok=True)
        self._close()

    def keep(self, location: str) -> None:
        """Save the Location at which to continue."""
        self.location = location
        if self._file is not None:
            line = json.dumps({**self._named, "location": location}).encode() + b"\n"
            # One write, over what was there: a longer rest stands after the line and isn't read.
            os.pwrite(self._file, line, 0)

    def forget(self) -> None:
        """Note that there is no session to continue."""
        self.location = None

    def _read(self, line: bytes) -> str | None:
        try:
            content = json.loads(line)
            named = {name: content[name] for name in self._named}
            location = content["location"]
        except (ValueError, KeyError, TypeError):
            return None
        return location if named == self._named and isinstance(location, str) else None

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def forget_old_sessions() -> None:
    """Remove the files of sessions that no registry keeps for so long."""
    try:
        paths = list(state_folder().glob("*.json"))
    except OSError:
        return
    for path in paths:
        try:
            if path.stat().st_mtime < time.time() - _LIFE:
                path.unlink()
        except OSError:
            continue
