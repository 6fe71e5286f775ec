"""What ends a command. moorage.cli alone prints it, as `moorage COMMAND: text`."""


class CommandError(Exception):
    """It can't be done; the text says in one line what happened and what to do."""


class UsageError(CommandError):
    """The options don't go together, or hold what can't be; the text says what would be right."""
