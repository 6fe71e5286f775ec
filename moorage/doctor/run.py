"""`moorage doctor`: checks a registry as its clients see it, and says what to set and why.

It finds out what is known only of a registry on AWS. It must never show a password or a token, and
never leave behind what it pushed, however it ends.
"""

import re
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chalicelib.errors import NameInvalidError
from chalicelib.reference import parse_name
from moorage.common.errors import CommandError, UsageError
from moorage.common.http import AddressError, clean, registry_url
from moorage.doctor import report as doctor_report
from moorage.doctor.checklist import CHECKS, Check, CheckResult
from moorage.doctor.checks.heads import right_strategy
from moorage.doctor.findings import FailedError, Finding, Status, skip
from moorage.doctor.visit import UserPassword, Visit
from moorage.doctor.wire import BROKEN, Wire
from moorage.login import tools as login_tools

_SCRATCH = "moorage-doctor"
_CONNECTION = (
    "look at the network from here to the registry: a proxy or firewall on the way closes"
    " connections or holds answers back; the function's log says whether the request arrived"
)
_LONGEST_PASSWORD = 16_384
_PASSWORD = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """The registry, the login and the checks; see `moorage doctor --help`.

    A password comes from stdin or `token_file`; without either there is no login.
    """

    url: str
    user: str | None = None
    password_stdin: bool = False
    token_file: Path | None = None
    repository: str | None = None
    as_json: bool = False
    keep: bool = False
    large: bool = False
    edge_size: int | None = None
    """Bytes of one more PUT through an edge."""
    only: Sequence[str] = ()
    """Names of checks; none: all of them."""


def run(options: DoctorOptions) -> int:
    """Check a registry and print the findings; return 0 without a failure, 1 with one.

    Raises UsageError.
    """
    visit = _visit(options)
    names = _named(options.only)
    try:
        results = _printed(visit, names, as_json=options.as_json)
    except KeyboardInterrupt:
        sys.stderr.write("moorage doctor: stopped\n")
        return 1
    return 1 if any(result.finding.status is Status.FAIL for result in results) else 0


def measured_strategy(url: str) -> str:
    """Return the HEAD strategy that is right for the gateway at a URL; raises CommandError.

    Nobody has to log in for it, and nothing is written.
    """
    try:
        return right_strategy(Visit(Wire(registry_url(url)), _SCRATCH))
    except FailedError as error:
        raise CommandError(error.finding.seen) from None
    except BROKEN as error:
        reason = clean(str(error)) or type(error).__name__
        raise CommandError(f"the connection failed: {reason}") from None


def _printed(visit: Visit, names: frozenset[str], *, as_json: bool) -> list[CheckResult]:
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
    report: Callable[[CheckResult], None] = lambda _: None,
) -> list[CheckResult]:
    """Run the checks of these names (none: all) and those they need, and always the last one.

    `report` is called with each result at once.
    """
    wanted = set(names) or {check.name for check in CHECKS}
    for check in reversed(CHECKS):
        # What a check needs comes before it.
        wanted.update(check.needs if check.name in wanted else ())
    results: list[CheckResult] = []
    blocked: set[str] = set()
    try:
        for check in CHECKS[:-1]:
            if check.name not in wanted:
                continue
            broken = [need for need in check.needs if need in blocked]
            finding = skip(f"needs {' and '.join(broken)}") if broken else _done(check, visit)
            if broken or finding.status is Status.FAIL:
                blocked.add(check.name)
            results.append(CheckResult(check, finding))
            report(results[-1])
    finally:
        results.append(CheckResult(CHECKS[-1], _done(CHECKS[-1], visit)))
        report(results[-1])
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
        # An invalid URL, for one. The error's text isn't shown: it may quote anything.
        return Finding(Status.FAIL, "what was answered can't be read")


def _visit(options: DoctorOptions) -> Visit:
    """Read the options; raises UsageError."""
    repository = options.repository or f"{_SCRATCH}/{secrets.token_hex(6)}"
    try:
        wire = Wire(registry_url(options.url))
        credentials = _credentials(options)
        visit = Visit(
            wire,
            repository,
            credentials,
            large=options.large,
            keep=options.keep,
            edge_size=options.edge_size or 0,
        )
        parse_name(visit.second)
    except AddressError as error:
        raise UsageError(str(error)) from None
    except NameInvalidError as error:
        raise UsageError(error.message) from None
    return visit


def _credentials(options: DoctorOptions) -> UserPassword | None:
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
    return UserPassword(options.user or login_tools.USER, password)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")[:_LONGEST_PASSWORD]
    except (OSError, UnicodeError) as error:
        reason = error if isinstance(error, OSError) else f"{path} holds no token"
        raise UsageError(f"the token can't be read: {reason}") from None


def _named(only: Sequence[str]) -> frozenset[str]:
    names = [check.name for check in CHECKS[:-1]]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise UsageError(f"no check is called {', '.join(unknown)}: there are {', '.join(names)}")
    return frozenset(only)


def _print(text: str) -> None:
    # At once: a check may take a minute.
    sys.stdout.write(text)
    sys.stdout.flush()
