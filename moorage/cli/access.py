"""`moorage token`, `grant`, `public`, `trust`, `key` and `rules`: their options, and no logic.

No secret may come by an option: everybody on the machine can read command lines. A new secret goes
to stdout alone, or to a file; messages go to stderr then.
"""
# ruff: noqa: PLC0415 - each command imports what it runs when it runs: all load the AWS SDK
# ruff: noqa: ANN401 - click hands options over by name

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from moorage.cli import output
from moorage.cli.command import Command, Group
from moorage.cli.options import DURATION, LIFE, PATH, Decorator, option, read_text
from moorage.cli.registry import at_access, at_rules, endpoint

if TYPE_CHECKING:
    from pathlib import Path

    from moorage.access.commands import AccessTable, SigningKeyParameter
    from moorage.access.rules import RegistryRules
    from moorage.access.signing_key import StoredKeySet

_KEY = "/moorage/signing-key"
_RIGHTS = "as in team/**:pull,push; the rights are pull, push and delete"


def _grants(names: str, text: str) -> Decorator:
    return option(names, "PATTERN:RIGHTS", text, multiple=True)


_may = _grants("--grant grants", f"a grant, {_RIGHTS}; may be repeated")
_admin = click.option(
    "--admin",
    "grants",
    multiple=True,
    flag_value="admin",
    help="grant all rights in every repository",
)
_token = click.argument("wanted", metavar="NAME|ID", help="the API token's name or id")
_token_file = option(
    "--token-file", PATH, "write the secret to this file (mode 0600), instead of printing it"
)
_json = option("--json as_json", None, "print JSON")


def _at_parameter(act: Callable[..., "StoredKeySet"]) -> Callable[..., None]:
    """Add the options that say which parameter, and show the keys that the function returns."""

    @_json
    @option("--signing-key", "NAME", "the SSM parameter that holds it", _KEY, "MOORAGE_SIGNING_KEY")
    @endpoint
    @functools.wraps(act)
    def run(*, as_json: bool, signing_key: str, endpoint: str | None, **options: Any) -> None:
        from moorage.access import commands, texts

        stored = act(commands.SigningKeyParameter(signing_key, endpoint), **options)
        if as_json:
            output.show_json(texts.key_values(stored))
        else:
            click.echo(texts.key_state(stored))

    return run


@click.group(cls=Group)
def token() -> None:
    """Create, list, rotate and revoke API tokens."""


@token.command("create")
@click.argument("name", help="what to call it")
@_may
@_admin
@option("--expires life", LIFE, "how long it works, as in 90d or 12h; or never", "90d")
@option("--owner", "TEXT", "who answers for it; by default you")
@_token_file
@at_access
def _token_create(table: "AccessTable", name: str, **options: Any) -> None:
    """Create an API token and print it; it is not shown again."""
    _hand_over(*table.create_token(name, **options))


@token.command("list")
@_json
@at_access
def _token_list(table: "AccessTable", *, as_json: bool) -> None:
    """List the API tokens, without their secrets."""
    empty = "there are no API tokens: `moorage token create` makes one"
    output.show(table.list_tokens(), as_json=as_json, empty=empty)


@token.command("revoke")
@_token
@at_access
def _token_revoke(table: "AccessTable", wanted: str) -> None:
    """Revoke an API token; this can't be undone."""
    click.echo(table.revoke_token(wanted))


@token.command("rotate")
@_token
@option("--grace", DURATION, "how long the old secret still works; 0 ends it at once", "24h")
@_token_file
@at_access
def _token_rotate(table: "AccessTable", wanted: str, **options: Any) -> None:
    """Replace the secret of an API token, and print the new one."""
    _hand_over(*table.rotate_token(wanted, **options))


def _hand_over(message: str, secret: str | None) -> None:
    output.say(message)
    if secret is not None:
        click.echo(secret)


@click.command(cls=Command)
@_token
@_grants("--grant grants", f"replace all grants by this one, {_RIGHTS}; may be repeated")
@_admin
@_grants("--add", "a grant to add")
@_grants("--remove", "a grant to remove")
@at_access
def grant(
    table: "AccessTable",
    wanted: str,
    grants: Sequence[str],
    add: Sequence[str],
    remove: Sequence[str],
) -> None:
    """Change what an API token may do."""
    if bool(grants) == bool(add or remove):
        raise click.UsageError(
            "give either --grant or --admin, for all it may do, or --add, --remove"
        )
    click.echo(table.change_grants(wanted, grants, add=add, remove=remove))


@click.command(cls=Command, required=("repository", "listed"))
@click.argument("repository", required=False, help="its name")
@option("--list listed", None, "show those that are public")
@option("--off", None, "make it private again")
@_json
@at_access
def public(
    table: "AccessTable", *, repository: str | None, listed: bool, off: bool, as_json: bool
) -> None:
    """Let anybody pull from a repository, or list such repositories."""
    if listed and off:
        raise click.UsageError("--off needs a repository")
    if as_json and not listed:
        raise click.UsageError("--json is for --list")
    if repository is None:
        output.show(table.list_public(), as_json=as_json, empty="no repository is public")
    else:
        click.echo(table.set_public(repository, public=not off))


@click.group(cls=Group)
def trust() -> None:
    """Let in identities of other issuers, such as CI jobs and AWS roles."""


@trust.command("add")
@click.argument("name", help="what to call the trust")
@option("--issuer", "URL", "the issuer, as in the tokens' `iss`; or `aws`", required=True)
@option("--audience", "TEXT", "what tokens have in `aud`: the registry's host; none for `aws`")
@option("--subject", "PATTERN", "the token's `sub`, or a role's ARN; * is any text", required=True)
@_may
@_admin
@option("--replace", None, "replace the trust of this name")
@at_access
def _trust_add(table: "AccessTable", name: str, **options: Any) -> None:
    """Let in identities of another issuer."""
    click.echo(table.add_trust(name, **options))


@trust.command("list")
@_json
@at_access
def _trust_list(table: "AccessTable", *, as_json: bool) -> None:
    """List the trusts."""
    empty = "there are no trusts: `moorage trust add` makes one"
    output.show(table.list_trusts(), as_json=as_json, empty=empty)


@trust.command("remove")
@click.argument("name", help="the trust's name")
@at_access
def _trust_remove(table: "AccessTable", name: str) -> None:
    """Remove a trust, and end the logins that it let in."""
    click.echo(table.remove_trust(name))


@click.group(cls=Group)
def key() -> None:
    """Create, show and rotate the key that signs the registry's tokens."""


@key.command("create")
@option("--kms-key", "KEY", "the KMS key that encrypts it; by default the account's own")
@_at_parameter
def _key_create(parameter: "SigningKeyParameter", kms_key: str | None) -> "StoredKeySet":
    """Store the first signing key of a new registry."""
    return parameter.create(kms_key)


@key.command("show")
@_at_parameter
def _key_show(parameter: "SigningKeyParameter") -> "StoredKeySet":
    """Show the ids of the signing keys, and which step of a replacement is done."""
    return parameter.show()


@key.command("rotate")
@option("--force", None, "replace the key at once, even if that logs people out")
@_at_parameter
def _key_rotate(parameter: "SigningKeyParameter", *, force: bool) -> "StoredKeySet":
    """Do the next of the three steps that replace the key."""
    return parameter.rotate(force=force)


@click.group(cls=Group)
def rules() -> None:
    """Show and set all rules of a registry: immutable tags, retention and quotas."""


@rules.command("show")
@at_rules
def _rules_show(registry: "RegistryRules") -> None:
    """Print the rules in force, in the form that `moorage rules set` reads."""
    stored = registry.show()
    if stored is None:
        output.say("this registry has no rules: `moorage rules set` sets some")
        return
    click.echo(stored.text)
    output.say(f"version {stored.version}, set {stored.moment} by {stored.set_by}")


@rules.command("set")
@click.argument("file", type=PATH, help="the rules, as JSON; - is standard input")
@option("--check", None, "check the rules, and set nothing")
@at_rules
def _rules_set(registry: "RegistryRules", file: "Path", *, check: bool) -> None:
    """Replace the rules in force; each version is kept."""
    for line in registry.replace(read_text(file), check=check):
        output.say(line)
