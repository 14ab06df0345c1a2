"""Runs Diffusers' own scheduler tests with scratch's classes in the place of the library's.

The tests are those of a checkout of Diffusers, which is only read; without `--library` the class
that each of them tests is scratch's of the same name. What fails is told with the reason.
"""

import argparse
import contextlib
import io
import sys
from pathlib import Path
from typing import Any

from workbench.parser import Parser

FILES = ("test_scheduler_ddpm.py", "test_scheduler_ddim.py")
EXAMPLES = """examples:
  git clone --depth 1 --branch v0.40.0 https://github.com/huggingface/diffusers CHECKOUT
  python docs/field/library_tests.py CHECKOUT              scratch's classes in the library's tests
  python docs/field/library_tests.py CHECKOUT --library    the library's own: what it can pass
exit status: 0 they were run, 2 they could not be"""


class Swap:
    """A plugin of pytest: puts other classes into the tests, and keeps what each test said.

    Args:
        classes: {name of a scheduler's class: what to test in its place}.
    """

    def __init__(self, classes: dict[str, type]) -> None:
        self.classes = classes
        self.failed: dict[str, str] = {}
        self.passed: list[str] = []
        self.unread: list[str] = []

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        for item in items:
            names = [each.__name__ for each in item.cls.scheduler_classes]
            item.cls.scheduler_classes = tuple(self.classes[name] for name in names)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.unread.append(f"{report.nodeid}: {str(report.longrepr).splitlines()[-1]}")

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.split("::", 1)[1].replace("SchedulerTest::test_", " ")
        if report.failed:
            self.failed[name] = " ".join(report.longrepr.reprcrash.message.split())
        elif report.when == "call" and report.passed:
            self.passed.append(name)


def main(argv: list[str] | None = None) -> int:
    """One line for each test that fails, and how many pass."""
    args = _arguments(argv)
    paths = [args.checkout / "tests" / "schedulers" / name for name in FILES]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        return _refuse(f"no {missing[0]}; give a checkout of Diffusers")
    swap = Swap(classes_of(args.library))
    with contextlib.redirect_stdout(io.StringIO()):
        status = _pytest(paths, args.checkout, swap)
    if not swap.passed and not swap.failed:
        why = swap.unread[0] if swap.unread else f"pytest ended with {status}"
        return _refuse(f"no test was run: {why}")
    for name, why in swap.failed.items():
        print(f"{name:58} {why[:200]}")
    whose = "the library's" if args.library else "scratch's"
    total = len(swap.passed) + len(swap.failed)
    print(f"{len(swap.passed)} of {total} pass with {whose} classes")
    return 0


def classes_of(library: bool) -> dict[str, type]:
    """{name: class} of the two schedulers, of scratch or of the library."""
    import diffusers

    import scratch

    source = diffusers if library else scratch
    return {name: getattr(source, name) for name in ("DDPMScheduler", "DDIMScheduler")}


def _pytest(paths: list[Path], checkout: Path, swap: Swap) -> int:
    import pytest

    sys.path.insert(0, str(checkout.resolve()))  # its tests import each other as `tests.others`
    options = ["--noconftest", "-c", "/dev/null", "-p", "no:cacheprovider", "-q", "-W", "ignore"]
    return int(pytest.main([*options, *map(str, paths)], plugins=[swap]))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser("library_tests.py", description=__doc__.split("\n")[0], epilog=EXAMPLES)
    parser.add_argument("checkout", type=Path, help="a checkout of Diffusers")
    parser.add_argument("--library", action="store_true", help="test the library's own classes")
    return parser.parse_args(argv)


def _refuse(why: str) -> int:
    print(f"library_tests.py: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
