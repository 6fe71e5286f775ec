"""The names of a local registry's bucket and tables, and their region."""

from dataclasses import dataclass

REGION = "us-east-1"
"""The region that requests to emulators name."""


@dataclass(frozen=True, slots=True)
class DataNames:
    """The names of the bucket and the three tables of infra/data.yaml."""

    bucket: str = "moorage-local"
    registry_table: str = "moorage-registry"
    uploads_table: str = "moorage-uploads"
    access_table: str = "moorage-access"

    def variables(self) -> dict[str, str]:
        """Return the environment variables that give the registry these names."""
        return {
            "MOORAGE_BUCKET": self.bucket,
            "MOORAGE_REGISTRY_TABLE": self.registry_table,
            "MOORAGE_UPLOADS_TABLE": self.uploads_table,
            "MOORAGE_ACCESS_TABLE": self.access_table,
        }
