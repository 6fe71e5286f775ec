"""`python -m tests.browser`: the page in Debian's Chromium.

It installs Chromium, and axe-core and TypeScript from npm's registry, where they are missing. None
of them is part of the project, nor of what is deployed.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from moorage.common.project import PROJECT
from tests.clients.install import install_debian_packages

TOOLS: Final = PROJECT / ".tools" / "browser"
_PACKAGES: Final = ("axe-core@4.10.3", "typescript@5.9.3")


def main() -> int:
    """Install what is missing, and run the tests."""
    try:
        install_debian_packages({"chromium": "chromium", "npm": "npm"})
        if not (TOOLS / "node_modules" / "typescript").is_dir():
            TOOLS.mkdir(parents=True, exist_ok=True)
            options = ("--no-save", "--no-audit", "--no-fund", "--ignore-scripts")
            command = ["npm", "install", *options, "--prefix", str(TOOLS), *_PACKAGES]
            subprocess.run(command, check=True, timeout=300)
    except (RuntimeError, subprocess.SubprocessError) as problem:
        print(f"browser: {problem}", file=sys.stderr)
        return 1
    tests = ["-m", "pytest", "-p", "no:randomly", "-v", str(Path(__file__).parent)]
    return subprocess.run([sys.executable, *tests], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
