"""What stops a command. The command line alone prints it, as `moorage COMMAND: text`."""


class CommandError(Exception):
    """It can't be done; the text says in one line what happened and what to do."""


class AskedWronglyError(CommandError):
    """What was asked for can't be; the text says what to ask instead."""
