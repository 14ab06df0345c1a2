"""Shell completion: what bash offers for a half-typed line, and that nothing is imported for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from ddpm.cli import main


@pytest.fixture(scope="module")
def bash_script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = subprocess.run(
        [sys.executable, "-m", "ddpm", "--print-completion", "bash"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("completion") / "ddpm.bash"
    path.write_text(run.stdout)
    return path


def offered(script: Path, *words: str) -> list[str]:
    """What the tab key gives after the words, the last of which is begun or empty."""
    line = " ".join(f"'{word}'" for word in ("ddpm", *words))
    ask = (
        f"source '{script}'; COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        "f=$(complete -p ddpm | sed 's/.*-F \\([^ ]*\\).*/\\1/'); "
        f"$f ddpm '{words[-1]}' '{words[-2] if words[1:] else 'ddpm'}'; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    run = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, cwd=script.parent)
    return run.stdout.split()


def test_verbs_options_and_choices_are_completed(bash_script: Path) -> None:
    assert offered(bash_script, "tr") == ["train"]
    assert offered(bash_script, "sample", "--samp") == ["--sampler"]
    assert offered(bash_script, "sample", "--sampler", "") == ["ddpm", "ddim"]
    assert offered(bash_script, "plot", "los") == ["losses"]


def test_a_run_is_a_folder_and_an_output_a_file(bash_script: Path) -> None:
    (bash_script.parent / "runs").mkdir()
    (bash_script.parent / "few.png").touch()
    assert offered(bash_script, "sample", "") == ["runs"]
    assert "few.png" in offered(bash_script, "sample", "runs", "--output", "")


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_the_other_shells_get_a_script_with_every_verb(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", shell])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    for verb in ("train", "sample", "compare", "adapt", "explain", "exercise", "plot", "tour"):
        assert verb in printed, verb


def test_an_unknown_shell_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "fish"])
    said = capsys.readouterr().err
    assert end.value.code == 2
    assert said.startswith("ddpm: argument --print-completion: invalid choice: 'fish'")
    assert said.count("\n") == 1


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as end:
        main(["--print-completion", "bash"])
    assert end.value.code == 2
    assert "pip install shtab" in capsys.readouterr().err


def test_help_needs_no_shtab() -> None:
    script = "import sys; from ddpm.cli import build_parser; build_parser(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"shtab", "torch"} & set(run.stdout.split())
