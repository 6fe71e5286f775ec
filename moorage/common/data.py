"""What the bucket and the tables of a local registry are called, and where they are said to be."""

from dataclasses import dataclass

REGION = "us-east-1"
"""The region that emulators are told, and that signatures for them name."""


@dataclass(frozen=True, slots=True)
class DataNames:
    """What the bucket and the three tables of infra/data.yaml are called."""

    bucket: str = "moorage-local"
    registry_table: str = "moorage-registry"
    uploads_table: str = "moorage-uploads"
    access_table: str = "moorage-access"

    def variables(self) -> dict[str, str]:
        """Return the environment variables that tell the registry these names."""
        return {
            "MOORAGE_BUCKET": self.bucket,
            "MOORAGE_REGISTRY_TABLE": self.registry_table,
            "MOORAGE_UPLOADS_TABLE": self.uploads_table,
            "MOORAGE_ACCESS_TABLE": self.access_table,
        }
