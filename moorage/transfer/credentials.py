"""Logins that other client programs keep: docker's and podman's files, and credential helpers.

This module must never write such a file, and never show a password.
Source: containers-auth.json(5); docker's config.json and credential helpers.
"""

import base64
import binascii
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moorage.common.errors import CommandError
from moorage.common.http import clean, read_json, required_object

_HELPER_SECONDS = 60
_IDENTITY_TOKEN_USER = "<token>"  # noqa: S105 - what helpers call a user that is a token
_NOT_FOUND = "credentials not found"
# What docker calls Docker Hub where it keeps logins.
_HUB, _HUB_KEY = "docker.io", "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class KeptLogin:
    """A user name and password, or an identity token that is exchanged for bearer tokens."""

    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)


def kept_login(repository: str, variables: Mapping[str, str] = os.environ) -> KeptLogin | None:
    """Return the login for `host[:port]/name`; None where no file has one.

    The most specific entry of the first file that has any counts. Raises CommandError for a file or
    a helper that can't be read.
    """
    for path in _files(variables):
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
        except (OSError, UnicodeError) as error:
            raise CommandError(f"the logins in {path} can't be read: {error}") from None
        login = _in_file(_parsed(text, path), repository, path)
        if login is not None:
            return login
    return None


def _files(variables: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that may hold logins, in the order in which podman reads them."""
    named = variables.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
        return
    home = Path(variables.get("HOME") or Path.home())
    runtime = variables.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime, "containers", "auth.json")
    else:
        yield Path("/run/containers", str(os.getuid()), "auth.json")
    settings = variables.get("XDG_CONFIG_HOME") or home / ".config"
    yield Path(settings, "containers", "auth.json")
    yield Path(variables.get("DOCKER_CONFIG") or home / ".docker", "config.json")


def _parsed(text: str, path: Path) -> Mapping[str, Any]:
    try:
        return required_object(text)
    except ValueError as error:
        raise CommandError(f"the logins in {path} can't be read: {error}") from None


def _in_file(content: Mapping[str, Any], repository: str, path: Path) -> KeptLogin | None:
    host = repository.partition("/")[0]
    server = _HUB_KEY if host == _HUB else host
    helpers = _map(content, "credHelpers")
    helper = helpers.get(host, helpers.get(server))
    if isinstance(helper, str):
        return _from_helper(helper, server)
    entries = _map(content, "auths")
    for key in _keys(repository):
        entry = entries.get(key)
        if isinstance(entry, dict):
            login = _from_entry(entry, path)
            if login is not None:
                return login
    store = content.get("credsStore")
    return _from_helper(store, server) if isinstance(store, str) and store else None


def _map(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _keys(repository: str) -> Iterator[str]:
    """Yield the keys of a repository's entries: its name, its parents, its registry."""
    key = repository
    while key:
        yield key
        key = key.rpartition("/")[0]
    host = repository.partition("/")[0]
    yield from (f"https://{host}", f"https://{host}/", f"https://{host}/v1/", f"https://{host}/v2/")
    if host == _HUB:
        yield _HUB_KEY


def _from_entry(entry: Mapping[str, Any], path: Path) -> KeptLogin | None:
    """Return an entry's login; docker leaves an empty entry where a credsStore has the password."""
    identity = entry.get("identitytoken")
    username, password = entry.get("username"), entry.get("password")
    encoded = entry.get("auth")
    if isinstance(encoded, str) and encoded:
        try:
            text = base64.b64decode(encoded, validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeError):
            raise CommandError(f"a login in {path} can't be read: log in again") from None
        username, _, password = text.partition(":")
    if isinstance(identity, str) and identity:
        return KeptLogin(str(username or ""), "", identity)
    if not isinstance(username, str) or not isinstance(password, str) or not username:
        return None
    return KeptLogin(username, password)


def _from_helper(name: str, host: str) -> KeptLogin | None:
    program = f"docker-credential-{name}"
    found = shutil.which(program)
    if found is None:
        raise CommandError(f"the logins of {host} are kept by {program}, which is not on PATH")
    try:
        done = subprocess.run(  # noqa: S603 - the program that the user's own file names
            [found, "get"],
            input=host,
            capture_output=True,
            text=True,
            check=False,
            timeout=_HELPER_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{program} gives no login for {host}: {type(error).__name__}") from None
    if done.returncode != 0:
        said = done.stdout + done.stderr
        if _NOT_FOUND in said.lower():
            return None
        raise CommandError(f"{program} gives no login for {host}: {clean(said)}")
    try:
        content = read_json(done.stdout)
        username, secret = str(content["Username"]), str(content["Secret"])
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{program} gives {host}'s login in no form that is known") from None
    if username == _IDENTITY_TOKEN_USER:
        return KeptLogin("", "", secret)
    return KeptLogin(username, secret)
