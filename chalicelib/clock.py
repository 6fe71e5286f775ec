"""The machine's time and randomness. No rule may ask this module: rules are given a clock."""

import time
import uuid


class SystemClock:
    """The clock of every process but a test's."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def new_id(self) -> str:
        """Return a random UUID."""
        return str(uuid.uuid4())
