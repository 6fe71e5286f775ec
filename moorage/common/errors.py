"""The errors that end a command. Only moorage.cli prints them, as `moorage COMMAND: text`."""


class CommandError(Exception):
    """It can't be done; the text says in one line what happened and what to do."""


class UsageError(CommandError):
    """The options don't fit together, or a value can't be read; the text says what is right."""
