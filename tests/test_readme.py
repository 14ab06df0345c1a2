"""The README tells the truth: its code runs, its commands parse, its files exist."""

import re
import shlex
from pathlib import Path

import pytest

from ddpm.cli import build_parser

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


def test_the_script_is_the_example_file() -> None:
    example = (ROOT / "docs" / "examples" / "train_scratch.py").read_text(encoding="utf-8")
    assert example in blocks("python")


def test_the_other_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    example = (ROOT / "docs" / "examples" / "train_scratch.py").read_text(encoding="utf-8")
    others = [block for block in blocks("python") if block != example]
    assert others
    for block in others:
        exec(compile(block, "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("command", commands())
def test_commands_exist(command: str) -> None:
    words = shlex.split(command.split(">")[0])
    if words[0] == "ddpm":
        assert build_parser().parse_args(words[1:]).verb == words[1]
    elif words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        for target in words[1:]:
            assert re.search(rf"^{re.escape(target)}:", makefile, flags=re.MULTILINE), target
    else:
        assert words[0] in ("git", "cd", "open", "python"), command


def test_the_verdict_is_what_compare_says() -> None:
    import compare

    candidate = "docs/examples/my_scheduler.py:MyScheduler"
    said = str(compare.run(str(ROOT / candidate))).replace(f"{ROOT}/", "")
    (shown,) = blocks("text")
    assert said.startswith(shown.rstrip("\n"))


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#\s]+)\)|src=\"([^\"]+)\"", README)
    local = [a or b for a, b in targets if not (a or b).startswith("http")]
    assert local
    for target in local:
        assert (ROOT / target).exists(), target
