from moorage.common.errors import CommandError
from moorage.common.extras import require

require("deploy")


class DeployError(CommandError):
    """A deployment can't continue."""
