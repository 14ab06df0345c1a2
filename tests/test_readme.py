"""The README tells the truth: its code runs, its commands parse, its files exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

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


def test_the_notebooks_are_named_as_the_build_names_them() -> None:
    pages = {path.stem for path in (ROOT / "docs" / "notebooks").glob("*.md")} - {"index"}
    assert set(re.findall(r"([\w-]+)\.ipynb", README)) == pages


def test_who_is_cited_is_who_holds_the_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (author,) = (each["name"] for each in cited["authors"])
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert re.search(rf"Copyright \(c\) \d+ {author}$", licence, flags=re.MULTILINE)
    assert cited["version"] == project["version"]
    assert cited["license"] in licence
    assert not {"url", "repository", "repository-code"} & set(cited)  # none is known


FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_for_issues_asks_for_commands_that_exist(path: Path) -> None:
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head).keys() == {"name", "about", "title", "labels"}
    for command in re.findall(r"ddpm compare --[^`\n>]*", body):
        assert build_parser().parse_args(shlex.split(command)[1:]).json == Path("report.json")
    assert "ddpm --version" in body or "ddpm compare" in body


def test_there_is_a_form_for_a_wrong_verdict() -> None:
    (form,) = (path.read_text(encoding="utf-8") for path in FORMS if path.stem == "wrong-verdict")
    for asked in ("The candidate", "The JSON", "ddpm --version"):
        assert asked in form


def test_each_that_runs_code_is_a_command_that_exists() -> None:
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for verb in re.findall(r"`ddpm (\w+)", security):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([verb, "--help"])
        assert ended.value.code == 0
    for name in ("scratch", "compare", "workbench", "ddpm"):
        assert f"`{name}`" in security
