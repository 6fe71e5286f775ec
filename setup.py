"""The part of the build that pyproject.toml can't say: where the files of a deployment go.

Chalice wants them at the top of its project, and there they stay in a checkout and in a source
distribution. In a wheel they go inside the package `moorage`: at the top of somebody's
site-packages they would take names that belong to no one project, such as `app`.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT_FILES = ("app.py", "requirements.txt", ".chalice/*.json", "infra/*.js*", "infra/*.yaml")


class BuildWithProject(build_py):
    """Copies packages, and the project's files into `moorage/_project`."""

    def run(self) -> None:
        """Build into an empty folder: modules that are gone must not be found there again."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            for name in self._project_files():
                target = Path(self.build_lib, "moorage", "_project", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(name, target)

    def get_source_files(self) -> list[str]:
        """Return what a source distribution has to hold."""
        return [*super().get_source_files(), *self._project_files()]

    @staticmethod
    def _project_files() -> list[str]:
        return [str(path) for pattern in PROJECT_FILES for path in sorted(Path().glob(pattern))]


setup(cmdclass={"build_py": BuildWithProject})
