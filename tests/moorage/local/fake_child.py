"""A fake of a child of `moorage local`: it answers 200, or misbehaves.

`python -m tests.moorage.local.fake_child NAME BEHAVIOUR LOG --port N ...`; LOG gets a line when it
starts and one at SIGTERM. Other options are ignored.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from moorage.local.children import exit_with_parent
from tests.support.fake_http import run_fake


def main() -> None:
    """Behave as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("behaviour", choices=["serves", "dies", "dies-later", "hangs", "talks"])
    parser.add_argument("log", type=Path)
    parser.add_argument("--port", type=int, required=True)
    options, _ = parser.parse_known_args()
    exit_with_parent()

    def stop(*_: object) -> None:
        _note(options.log, f"{options.name} down")
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    # Only now: a test that reads this may stop it at once.
    _note(options.log, f"{options.name} up")
    if options.behaviour == "dies":
        sys.exit(f"{options.name}: no such luck")
    if options.behaviour == "hangs":
        signal.pause()
    with run_fake(lambda asked: asked.answer(200), options.port) as url:
        if options.behaviour == "dies-later":
            while "edge up" not in options.log.read_text(encoding="utf-8"):
                time.sleep(0.05)
            time.sleep(0.5)
            print(f"{options.name}: fell over", file=sys.stderr, flush=True)
            os._exit(3)
        if options.behaviour == "talks":
            # Long after the first answer.
            time.sleep(0.5)
            print(f"{options.name} ready on {url}\nand that is all", flush=True)
            _note(options.log, f"{options.name} talked")
        signal.pause()


def _note(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    main()
