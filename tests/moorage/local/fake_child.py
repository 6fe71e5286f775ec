"""A fake of the gateway or the proxy below `moorage local`: it answers 200, or misbehaves.

`python -m tests.moorage.local.fake_child NAME BEHAVIOUR LOG --port N ...`; LOG gets a line when it
starts and one at SIGTERM. Other options are ignored.
"""

from __future__ import annotations

import argparse
import http.server
import os
import signal
import sys
import threading
import time
from pathlib import Path

from moorage.local.children import exit_with_parent


class _Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answer 200."""
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep silent."""


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
        threading.Event().wait()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), _Ok)
    if options.behaviour == "dies-later":
        threading.Thread(target=_die, args=[options], daemon=True).start()
    if options.behaviour == "talks":
        threading.Timer(0.5, _talk, [options]).start()
    server.serve_forever()


def _talk(options: argparse.Namespace) -> None:
    """Print, long after the first answer, that it is ready, and then another line."""
    print(f"{options.name} ready on http://127.0.0.1:{options.port}", flush=True)
    print("and that is all", flush=True)
    _note(options.log, f"{options.name} talked")


def _die(options: argparse.Namespace) -> None:
    """Fall over a while after all the others are up."""
    while "proxy up" not in options.log.read_text(encoding="utf-8"):
        time.sleep(0.05)
    time.sleep(0.5)
    sys.stderr.write(f"{options.name}: fell over\n")
    sys.stderr.flush()
    os._exit(3)


def _note(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


if __name__ == "__main__":
    main()
