"""The words of the commands that manage access: what may be asked.

What is asked is checked here, word by word, and done elsewhere: this module must never load an
SDK, nor take a secret from the command line, where everybody on the machine can read it.
"""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

Commands = argparse._SubParsersAction  # noqa: SLF001 - argparse has no other name for it
Run = Callable[[argparse.Namespace], int]
Command = Callable[["Commands[argparse.ArgumentParser]", str, str], argparse.ArgumentParser]

_UNITS = {"m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,5})([mhd])")
_NEVER = "never"
_STACK = "moorage-data"
_SIGNING_KEY = "/moorage/signing-key"


class Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, but for those that say only that an option was not given."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default is None or action.default is False
        return action.help if told else super()._get_help_string(action)


def add_access(
    commands: "Commands[argparse.ArgumentParser]", command: Command, *, run: Run
) -> None:
    """Add token, grant, public, trust and key to a parser's commands; `run` does them."""
    leaves = [
        *_token(_group(commands, "token", "make and end access tokens"), command),
        _grant(command(commands, "grant", "change what an access token may do")),
        _public(command(commands, "public", "let anybody pull from a repository, or list those")),
        *_trust(_group(commands, "trust", "let in whom another issuer vouches for"), command),
        *_key(_group(commands, "key", "replace the key that signs the registry's tokens"), command),
    ]
    for leaf in leaves:
        leaf.formatter_class = Help
        leaf.set_defaults(run=run, spoken=leaf.prog.removeprefix("moorage "))
        leaf.add_argument(
            "--aws-endpoint",
            type=_url,
            metavar="URL",
            help="an emulator of AWS, such as the one that `moorage local` names; it is given"
            " made-up credentials",
        )


def _token(
    acts: "Commands[argparse.ArgumentParser]", command: Command
) -> list[argparse.ArgumentParser]:
    create = command(acts, "create", "make an access token and print it, this once")
    create.add_argument("name", type=_name, metavar="NAME", help="what to call it")
    _add_grants(create)
    create.add_argument(
        "--expires", type=_expiry, metavar="TIME", default="90d", help="as in 90d or 12h; or never"
    )
    create.add_argument("--owner", metavar="TEXT", help="who answers for it; by default you")
    _add_token_file(create)
    listed = command(acts, "list", "show the access tokens, and never their secrets")
    _add_json(listed)
    revoke = command(acts, "revoke", "end an access token for good")
    rotate = command(acts, "rotate", "replace the secret of an access token, and print the new one")
    rotate.add_argument(
        "--grace",
        type=_duration,
        metavar="TIME",
        default="24h",
        help="how long the old secret still works, as in 24h; 0 ends it at once",
    )
    _add_token_file(rotate)
    for parser in (revoke, rotate):
        _add_credential(parser)
    return [_with_table(parser) for parser in (create, listed, revoke, rotate)]


def _grant(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    _add_credential(parser)
    _add_grants(parser, "all it may do from now on")
    for name, text in (("--add", "more that it may do"), ("--remove", "what it may no longer do")):
        parser.add_argument(
            name, type=_granting, action="append", metavar="PATTERN:RIGHTS", help=text
        )
    return _with_table(parser)


def _public(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "repository", type=_repository, nargs="?", metavar="REPOSITORY", help="its name"
    )
    what.add_argument("--list", action="store_true", help="show those that are public")
    parser.add_argument("--off", action="store_true", help="public no longer")
    return _with_table(parser)


def _trust(
    acts: "Commands[argparse.ArgumentParser]", command: Command
) -> list[argparse.ArgumentParser]:
    add = command(acts, "add", "let in whom an issuer vouches for")
    add.add_argument("name", metavar="NAME", help="what to call the trust")
    add.add_argument(
        "--issuer", required=True, metavar="URL", help="as tokens name it in `iss`; or `aws`"
    )
    add.add_argument(
        "--audience",
        default="",
        metavar="TEXT",
        help="what tokens have in `aud`: best the registry's host; none for `aws`",
    )
    add.add_argument(
        "--subject",
        required=True,
        metavar="PATTERN",
        help="whom: `sub`, or the role's ARN, in which * stands for anything",
    )
    _add_grants(add)
    add.add_argument("--replace", action="store_true", help="put it in place of one by this name")
    listed = command(acts, "list", "show the trusts")
    _add_json(listed)
    remove = command(acts, "remove", "let them in no longer")
    remove.add_argument("name", metavar="NAME", help="the trust's name")
    return [_with_table(parser) for parser in (add, listed, remove)]


def _key(
    acts: "Commands[argparse.ArgumentParser]", command: Command
) -> list[argparse.ArgumentParser]:
    create = command(acts, "create", "store the first signing key of a new registry")
    create.add_argument(
        "--kms-key", metavar="KEY", help="what encrypts it; by default the account's own key"
    )
    show = command(acts, "show", "show the signing keys' ids, and how far a replacement is")
    rotate = command(acts, "rotate", "take the next of the three steps that replace the key")
    rotate.add_argument("--force", action="store_true", help="now, even if that logs people out")
    for parser in (create, show, rotate):
        parser.add_argument(
            "--signing-key",
            metavar="NAME",
            default=os.environ.get("MOORAGE_SIGNING_KEY") or _SIGNING_KEY,
            help="the parameter that holds it; $MOORAGE_SIGNING_KEY sets the default",
        )
    return [create, show, rotate]


def _group(
    commands: "Commands[argparse.ArgumentParser]", name: str, text: str
) -> "Commands[argparse.ArgumentParser]":
    parser = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser.add_subparsers(dest="act", required=True, metavar="COMMAND")


def _with_table(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--table",
        metavar="NAME",
        default=os.environ.get("MOORAGE_ACCESS_TABLE") or None,
        help="the registry's table of who may do what; $MOORAGE_ACCESS_TABLE sets the default",
    )
    parser.add_argument(
        "--stack",
        metavar="NAME",
        default=_STACK,
        help="the data stack, which is asked for the table's name if none is given",
    )
    return parser


def _add_credential(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("credential", metavar="NAME|ID", help="the access token's name or id")


def _add_grants(parser: argparse.ArgumentParser, text: str = "what it may do") -> None:
    parser.add_argument(
        "--grant",
        type=_granting,
        action="append",
        metavar="PATTERN:RIGHTS",
        help=f"{text}, as in team/**:pull,push; the rights are pull, push and delete",
    )
    parser.add_argument("--admin", action="store_true", help="everything, in every repository")


def _add_token_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="PATH",
        help="write it here, for your eyes only (mode 0600), instead of printing it",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON list, for programs")


def _granting(text: str) -> str:
    from chalicelib.access.grants import GrantError, Grants  # noqa: PLC0415 - only who asks pays

    try:
        Grants.parse([text])
    except GrantError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _name(text: str) -> str:
    from chalicelib.access.credentials import (  # noqa: PLC0415 - likewise
        CredentialNameError,
        parse_credential_name,
    )

    try:
        return parse_credential_name(text)
    except CredentialNameError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _repository(text: str) -> str:
    from chalicelib.errors import NameInvalidError  # noqa: PLC0415 - likewise
    from chalicelib.reference import parse_name  # noqa: PLC0415 - likewise

    try:
        return parse_name(text)
    except NameInvalidError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _duration(text: str) -> int:
    form = _DURATION.fullmatch(text)
    if text != "0" and form is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write it as 90d, 12h or 30m")
    return int(form[1]) * _UNITS[form[2]] if form else 0


def _expiry(text: str) -> int | None:
    if text == _NEVER:
        return None
    seconds = _duration(text)
    if seconds == 0:
        raise argparse.ArgumentTypeError(f"{text!r} would be over at once: write it as 90d")
    return seconds


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL: write it as http://127.0.0.1:4566")
    return text
