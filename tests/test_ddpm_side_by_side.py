"""Where `ddpm` begins: another's package in one of our places is told, and never run by us.

Wheels are built and installed by pip, into environments without torch: nothing here needs it.
"""

import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

import ddpm_side_by_side
from ddpm import cli

ROOT = Path(ddpm_side_by_side.__file__).parent
BUILD = "from hatchling.build import build_wheel; print(build_wheel({folder!r}))"


def build(project: Path, folder: Path) -> Path:
    """The wheel of a project."""
    made = subprocess.run(
        [sys.executable, "-c", BUILD.format(folder=str(folder))],
        cwd=project, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return folder / made.stdout.split()[-1]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our wheel."""
    return build(ROOT, tmp_path_factory.mktemp("ours"))


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., Path]:
    """Builds a wheel of somebody else that has a package of one of our names."""

    def foreign(package: str, source: str) -> Path:
        project = tmp_path / f"other-{package}"
        (project / package).mkdir(parents=True)
        (project / package / "__init__.py").write_text(source)
        (project / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            f'[project]\nname = "other-{package}"\nversion = "1.5"\n'
            f'[tool.hatch.build.targets.wheel]\npackages = ["{package}"]\n'
        )
        return build(project, tmp_path)

    return foreign


class Environment:
    """A virtual environment with pip from outside."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))

    def pip(self, *words: str | Path) -> None:
        """Install or uninstall, without asking anything outside."""
        pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
        run = [*pip, "--python", str(self.python), *map(str, words)]
        subprocess.run(run, check=True, capture_output=True)

    def install(self, *wheels: Path) -> None:
        """Install wheels one after the other."""
        for wheel in wheels:
            self.pip("install", "--no-deps", "--no-index", "--no-compile", wheel)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of `ddpm`."""
        return self.run(self.python.with_name("ddpm"), *words)

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        """Exit status, stdout and stderr of a command."""
        made = subprocess.run(
            [self.python, "-I", *map(str, words)], capture_output=True, text=True, check=False
        )
        return made.returncode, made.stdout, made.stderr


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A fresh one."""
    return Environment(tmp_path / "environment")


def test_alone_there_is_nothing_to_tell(environment: Environment, ours: Path) -> None:
    environment.install(ours)
    status, said, warned = environment("--version")
    assert (status, warned) == (0, "")
    assert said.startswith(f"ddpm-side-by-side 0.1.0 in {environment.site} (torch (not installed)")
    assert environment("--help")[0] == 0


def test_who_was_installed_over_ours_is_named(
    environment: Environment, ours: Path, foreign: Callable[..., Path]
) -> None:
    environment.install(ours, foreign("scratch", "print('ran')"))
    status, said, warned = environment("--version")
    assert status == 2
    assert said.startswith("ddpm-side-by-side 0.1.0")
    assert "other-scratch 1.5 was installed over 1 of " in warned
    assert warned.count("\n") == 1
    assert "such as scratch/__init__.py; install ddpm-side-by-side anew" in warned
    # It is not imported in the place of ours either.
    load = "from workbench.backends import load; load('scratch')"
    status, said, warned = environment.run("-c", load)
    assert (status, said) == (1, "")
    assert "ValueError: other-scratch 1.5 was installed over" in warned
    # And once it is removed, ours is gone with it.
    environment.pip("uninstall", "-y", "other-scratch")
    status, _, warned = environment("--version")
    assert status == 2
    assert "this project's package 'scratch' is gone" in warned


@pytest.mark.parametrize("package", ["workbench", "ddpm"])
def test_one_that_breaks_the_command_is_told_in_a_line(
    environment: Environment, ours: Path, foreign: Callable[..., Path], package: str
) -> None:
    environment.install(ours, foreign(package, "import a_thing_that_is_not_there"))
    for words in (["--help"], ["explain", "43"], ["--version"]):
        status, _, warned = environment(*words)
        assert status == 2
        assert warned.startswith(f"ddpm: other-{package} 1.5 was installed over 1 of ")
        assert warned.count("\n") == 1


def test_ours_over_theirs_is_told_as_what_it_is(
    environment: Environment, ours: Path, foreign: Callable[..., Path]
) -> None:
    environment.install(foreign("scratch", "print('ran')"), ours)
    status, _, warned = environment("--version")
    assert status == 2
    assert "other-scratch 1.5 has files in scratch/ too: who removes it removes ours" in warned
    assert environment("explain", "--help")[0] == 0  # ours is whole


def test_files_that_were_changed_by_nobody_known(environment: Environment, ours: Path) -> None:
    environment.install(ours)
    (environment.site / "workbench" / "sprites.txt").unlink()
    with (environment.site / "scratch" / "noise.py").open("a") as file:
        file.write("# a line more\n")
    status, _, warned = environment("--version")
    assert status == 2
    scratch, workbench = warned.splitlines()
    assert re.match(r"ddpm: 1 of \d+ files of scratch/, such as scratch/noise.py were cha", scratch)
    assert "1 of" in workbench
    assert "such as workbench/sprites.txt were changed or removed" in workbench
    load = "from workbench.backends import load; load('scratch')"  # of yours to change: it is run
    assert "No module named 'torch'" in environment.run("-c", load)[2]


def test_in_a_clone_one_that_is_found_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "workbench.py").write_text("print('ran')")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import ddpm_side_by_side; sys.exit(ddpm_side_by_side.main(sys.argv[1:]))"
    )
    for words in (["--help"], ["--version"], ["train"]):
        made = subprocess.run(
            [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
        )
        assert made.returncode == 2
        assert "ran" not in made.stdout
        assert f"{tmp_path / 'workbench.py'} hides this project's package" in made.stderr
        assert made.stderr.count("\n") == 1


def test_here_all_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert ddpm_side_by_side.taken() == []
    assert ddpm_side_by_side.main(["--version"]) == 0
    said = capsys.readouterr()
    assert str(ROOT) in said.out
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr() == said
