"""`moorage doctor`: looks at a registry as its clients will, and says what to set and why.

It is for a registry on AWS: what can't be known without one, it finds out. This must never show a
password or a token, and never leave behind what it pushed, however it ends.
"""

import re
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from chalicelib.errors import NameInvalidError
from chalicelib.reference import parse_name
from moorage.common.errors import UsageError
from moorage.common.http import is_loopback
from moorage.doctor import report as doctor_report
from moorage.doctor.check import Check, Result
from moorage.doctor.checks import blobs as doctor_checks_blobs
from moorage.doctor.checks import end as doctor_checks_end
from moorage.doctor.checks import heads as doctor_checks_heads
from moorage.doctor.checks import limits as doctor_checks_limits
from moorage.doctor.checks import login as doctor_checks_door
from moorage.doctor.checks import manifests as doctor_checks_manifests
from moorage.doctor.checks import uploads as doctor_checks_uploads
from moorage.doctor.findings import FailedError, Finding, Status, skip
from moorage.doctor.visit import Credentials, Visit
from moorage.doctor.wire import BROKEN, Wire, clean
from moorage.login import tools as login_tools

CHECKS: Sequence[Check] = (
    *doctor_checks_door.CHECKS,
    *doctor_checks_uploads.CHECKS,
    *doctor_checks_limits.CHECKS,
    *doctor_checks_blobs.CHECKS,
    *doctor_checks_heads.CHECKS,
    *doctor_checks_manifests.CHECKS,
    *doctor_checks_end.CHECKS,
)
"""Every check, in the order in which they are done; what one needs comes before it."""

_LAST = CHECKS[-1].name
_SCRATCH = "moorage-doctor"
_CONNECTION = (
    "look at the network from here to the registry: something on the way closes connections or"
    " keeps answers; with the function's log, whether the request came there at all"
)
_LONGEST_PASSWORD = 16_384
_PASSWORD = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Which registry to check, as whom, how, and what of it; see `moorage doctor --help`.

    A password comes from stdin or `token_file`; without either, nobody logs in.
    """

    url: str
    user: str | None = None
    password_stdin: bool = False
    token_file: Path | None = None
    repository: str | None = None
    as_json: bool = False
    keep: bool = False
    large: bool = False
    only: Sequence[str] = ()
    """Names of checks; none: all of them."""


def run(options: DoctorOptions) -> int:
    """Examine a registry and tell; return 0 all is well, 1 something failed.

    Raises UsageError.
    """
    visit = _visit(options)
    names = _named(options.only)
    try:
        results = _told(visit, names, as_json=options.as_json)
    except KeyboardInterrupt:
        sys.stderr.write("moorage doctor: stopped\n")
        return 1
    return 1 if any(result.finding.status is Status.FAIL for result in results) else 0


def _told(visit: Visit, names: frozenset[str], *, as_json: bool) -> list[Result]:
    if as_json:
        results = examine(visit, names)
        _print(doctor_report.as_json(visit, results))
        return results
    _print(doctor_report.heading(visit))
    results = examine(visit, names, lambda result: _print(doctor_report.row(result)))
    _print(doctor_report.summary(visit, results))
    return results


def examine(
    visit: Visit,
    names: frozenset[str] = frozenset(),
    tell: Callable[[Result], None] = lambda _: None,
) -> list[Result]:
    """Do the checks of these names (none: all) and what they need, and the last one in any case.

    `tell` is called with each result as it comes.
    """
    wanted = _with_needs(names) if names else frozenset(check.name for check in CHECKS)
    results: list[Result] = []
    blocked: set[str] = set()
    try:
        for check in CHECKS[:-1]:
            if check.name not in wanted:
                continue
            broken = [need for need in check.needs if need in blocked]
            finding = skip(f"needs {' and '.join(broken)}") if broken else _done(check, visit)
            if broken or finding.status is Status.FAIL:
                blocked.add(check.name)
            results.append(Result(check, finding))
            tell(results[-1])
    finally:
        results.append(Result(CHECKS[-1], _done(CHECKS[-1], visit)))
        tell(results[-1])
    return results


def _done(check: Check, visit: Visit) -> Finding:
    try:
        return check.run(visit)
    except FailedError as error:
        return error.finding
    except BROKEN as error:
        reason = clean(str(error)) or type(error).__name__
        todo = None if check.breaks else _CONNECTION
        return Finding(Status.FAIL, f"the connection failed: {reason}", todo)
    except ValueError:
        # A URL that is none, say; the error's text may quote anything.
        return Finding(Status.FAIL, "what was answered can't be read")


def _with_needs(names: frozenset[str]) -> frozenset[str]:
    needs = {check.name: check.needs for check in CHECKS}
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += needs[name]
    return frozenset(wanted)


def _visit(options: DoctorOptions) -> Visit:
    """Read the options; raises UsageError."""
    repository = options.repository or f"{_SCRATCH}/{secrets.token_hex(6)}"
    visit = Visit(
        Wire(address(options.url)),
        repository,
        _credentials(options),
        large=options.large,
        keep=options.keep,
    )
    try:
        parse_name(visit.second)
    except NameInvalidError as error:
        raise UsageError(error.message) from None
    return visit


def address(text: str) -> SplitResult:
    """Return a registry's URL; without a scheme it is https, and http on this machine.

    Raises UsageError.
    """
    plain = "://" not in text
    try:
        parts = urlsplit(f"https://{text}" if plain else text)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or "@" in parts.netloc or not (text.isascii() and text.isprintable()):
        # Not shown: there may be a password in it.
        raise UsageError("no address of a registry: write it as https://registry.example")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise UsageError(
            f"an address with a path is no registry's: write {parts.scheme}://{parts.netloc}"
        )
    scheme = "http" if plain and is_loopback(parts) else parts.scheme
    return parts._replace(scheme=scheme, path="")


def _credentials(options: DoctorOptions) -> Credentials | None:
    if options.password_stdin:
        password, where = sys.stdin.read(_LONGEST_PASSWORD), "stdin"
    elif options.token_file is not None:
        password, where = _read(options.token_file), str(options.token_file)
    elif options.user is not None:
        raise UsageError("--user needs --password-stdin or --token-file")
    else:
        return None
    password = password.strip("\r\n")
    if not _PASSWORD.fullmatch(password):
        raise UsageError(f"{where} holds no password: one line of printable characters")
    return Credentials(options.user or login_tools.USER, password)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")[:_LONGEST_PASSWORD]
    except (OSError, UnicodeError) as error:
        reason = error if isinstance(error, OSError) else f"{path} holds no token"
        raise UsageError(f"the token can't be read: {reason}") from None


def _named(only: Sequence[str]) -> frozenset[str]:
    names = [check.name for check in CHECKS if check.name != _LAST]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise UsageError(f"no check is called {', '.join(unknown)}: there are {', '.join(names)}")
    return frozenset(only)


def _print(text: str) -> None:
    # At once: a check may take a minute, and whoever waits sees what was found so far.
    sys.stdout.write(text)
    sys.stdout.flush()
