"""Where the command `ddpm` begins: under a name that no one else has.

The packages beside this file are called `scratch`, `compare`, `workbench` and `ddpm`, and so are
other people's on the public index. pip puts two packages of one name into one folder and says
nothing: files of the later lie where those of the earlier lay. Whatever became of ours, this file
can tell; `ddpm --version` does.
"""

import base64
import csv
import hashlib
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distributions
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

NAME = "ddpm-side-by-side"
PACKAGES = ("scratch", "with_diffusers", "compare", "workbench", "ddpm")
HERE = Path(__file__).resolve().parent
CURE = f"install {NAME} anew, into an environment of its own"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line, or one line on what stands in its place.

    Args:
        argv: the words after `ddpm`; None for those of this process.

    Returns:
        The exit status, as `ddpm.cli.main` has it.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    if words == ["--version"]:
        return show_version()
    try:
        if hidden := list(hidden_by()):
            raise ImportError(hidden[0])
        from ddpm.cli import main as run
    except Exception:  # whatever the code raises that lies where ours should
        found = taken()
        if not found:
            raise
        print(f"ddpm: {found[0]}; {CURE}", file=sys.stderr)
        return 2
    return run(words)


def show_version() -> int:
    """Prints what is installed, and on stderr whatever has taken one of our places: 0 or 2."""
    print(version())
    found = taken()
    for line in found:
        print(f"ddpm: {line}; {CURE}", file=sys.stderr)
    return 2 if found else 0


def version() -> str:
    """Our version, those of what numbers depend on, and the folder that holds us, in one line."""
    ours, *theirs = (f"{name} {_version(name)}" for name in (NAME, "torch", "diffusers", "numpy"))
    python = f"Python {platform.python_version()}"
    return f"{ours} in {HERE} ({', '.join([*theirs, python])})"


def _version(name: str) -> str:
    try:
        return version_of(name)
    except PackageNotFoundError:
        return "(not installed)"


def taken() -> list[str]:
    """What has become of our places: a line for each that is not ours alone; none if all are.

    A package may be hidden by another that is found first, its files may have been overwritten,
    changed or removed, and another package's may lie among them. Files can be compared only where
    a wheel was installed: in a clone they are yours to change.
    """
    lines = list(hidden_by())
    for package in PACKAGES:
        files, of = changed(package)
        if line := overwritten(package):
            lines.append(line)
        elif files:
            lines.append(f"{_some(files, of, package)} were changed or removed")
        elif others := owners(package):
            lines.append(f"{others} has files in {package}/ too: who removes it removes ours")
    return lines


def hidden_by(packages: Sequence[str] = PACKAGES) -> Iterator[str]:
    """A line for each package of ours that Python finds elsewhere, or not at all."""
    for name in packages:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder without `__init__.py` is none of ours
            yield f"this project's package {name!r} is gone"
        elif Path(spec.origin).resolve() != HERE / name / "__init__.py":
            yield f"{Path(spec.origin).resolve()} hides this project's package {name!r}"


def overwritten(package: str) -> str:
    """The line on a package of ours over which another was installed; "" if none was."""
    files, of = changed(package)
    others = owners(package) if files else ""
    return f"{others} was installed over {_some(files, of, package)}" if others else ""


def changed(package: str) -> tuple[list[str], int]:
    """The files of a package of ours that are not as the wheel had them, and how many it had."""
    installed = _installed()
    if installed is None:
        return [], 0
    rows = csv.reader(_record(installed).splitlines())
    files = [(row[0], row[1]) for row in rows if row[0].startswith(f"{package}/") and row[1]]
    return [path for path, digest in files if not _is(installed, path, digest)], len(files)


def owners(package: str) -> str:
    """Other distributions beside ours, with their versions, that have files in a folder of ours."""
    return " and ".join(
        f"{other.name} {other.version}"
        for other in distributions(path=[str(HERE)])
        if other.name != NAME and f"\n{package}/" in f"\n{_record(other)}"
    )


def _some(files: list[str], of: int, package: str) -> str:
    return f"{len(files)} of {of} files of {package}/, such as {files[0]}"


def _installed() -> Distribution | None:
    """The distribution that this very file was installed by, as part of a wheel."""
    for found in distributions(name=NAME, path=[str(HERE)]):
        if f"\n{Path(__file__).name}," in f"\n{_record(found)}":
            return found
    return None


def _record(installed: Distribution) -> str:
    """Lines of path, digest and size: what a distribution installed."""
    return installed.read_text("RECORD") or ""


def _is(installed: Distribution, path: str, digest: str) -> bool:
    """Whether a file is as it was installed."""
    kind, _, value = digest.partition("=")
    try:
        content = Path(str(installed.locate_file(path))).read_bytes()
    except OSError:
        return False
    found = base64.urlsafe_b64encode(hashlib.new(kind, content).digest()).decode().rstrip("=")
    return found == value


if __name__ == "__main__":
    sys.exit(main())
