"""The usual names of a registry's data, and the region of emulators."""

from dataclasses import dataclass

REGION = "us-east-1"
"""The region that requests to emulators name."""

SIGNING_KEY = "/moorage/signing-key"
"""The parameter that holds the signing keys; infra/api.merge.yaml and moorage.cli have it, too."""


@dataclass(frozen=True, slots=True)
class DataNames:
    """The names of the bucket and the tables of infra/data.yaml; by default a local registry's."""

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
