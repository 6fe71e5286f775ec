from moorage.common.errors import CommandError
from moorage.common.extras import require

require("local")


class LocalError(CommandError):
    """The local registry can't start or continue; the text says why."""
