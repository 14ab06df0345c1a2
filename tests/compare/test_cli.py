"""`ddpm compare` as a command: statuses, files, one-line errors, no hang."""

import json
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest

from compare import backends, stages
from compare.cli import TEMPLATE, add_arguments, main
from tests.often import each

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "my_scheduler.py"
SCHEDULER = TEMPLATE.read_text(encoding="utf-8")
STEP = "    def step(self, model_output, t, x_t, generator=None):\n"


def arguments(*words: str):
    parser = ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def command(*words: str, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "compare", *words],
        cwd=folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_command_gives_statuses_files_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text().replace("=1000", "=30"))
    spec = ("--candidate", "mine.py:MyScheduler")
    done = command(*spec, "--json", "r.json", "--html", "r.html", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "differs from the papers in mean" in done.stdout.splitlines()[0]
    assert "mistake 43" in done.stdout
    assert "Traceback" not in done.stderr
    assert "FAIL mean" in done.stderr
    data = json.loads((tmp_path / "r.json").read_text())
    assert data["schema"] == 2
    assert data["diagnoses"][0]["bug"] == "43"
    assert data["gone"] == []
    check = next(c for c in data["checks"] if c["status"] == "differs")
    assert check["repro"] == f"ddpm compare --candidate mine.py:MyScheduler --only {check['id']}"
    assert check["beside"]["scratch"] < check["allowed"] < check["measured"]
    html = (tmp_path / "r.html").read_text()
    assert not re.search(r"(src|href)=|http|<script", html)
    assert html.count("<svg") == 4

    plain = command(*spec, folder=tmp_path)  # without the backends beside it, which files show
    assert (plain.returncode, plain.stdout) == (1, done.stdout)

    again = command(*spec, "--json", "r.json", folder=tmp_path)
    assert again.returncode == 2
    assert "--force" in again.stderr

    alone = command(*check["repro"].split()[2:], "--json", "one.json", folder=tmp_path)
    assert alone.returncode == 1
    (one,) = json.loads((tmp_path / "one.json").read_text())["checks"]
    assert one == check


def test_a_hang_and_a_death_are_one_line(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(SCHEDULER + "\nimport os\nos._exit(0)\n")
    done = command("--candidate", "mine.py:MyScheduler", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert "ended the process" in done.stderr
    assert STEP in SCHEDULER
    mine.write_text(SCHEDULER.replace(STEP, STEP + "        while True: pass\n"))
    done = command("--candidate", "mine.py:MyScheduler", "--timeout", "8", folder=tmp_path)
    assert done.returncode == 2
    assert "no answer within 8 s" in done.stderr.splitlines()[-1]


def test_what_was_judged_before_an_error_is_printed(tmp_path: Path) -> None:
    raises = STEP + "        raise KeyboardInterrupt\n"
    (tmp_path / "mine.py").write_text(SCHEDULER.replace(STEP, raises).replace("=1000", "=30"))
    done = command("--candidate", "mine.py:MyScheduler", folder=tmp_path)
    assert done.returncode == 2, done.stderr
    first, _, *more = done.stdout.splitlines()
    assert "could not be run: step(model_output, t, x_t) raises KeyboardInterrupt (mine.py" in first
    assert any(line.startswith("ok   schedule") for line in more)
    assert "Traceback" not in done.stderr


# What a file may do when it is imported, and is judged all the same.
ODD = """
import os, sys, threading, time
print("x" * 10**6)
os.system("echo printed")
threading.Thread(target=time.sleep, args=[600]).start()
sys.__stdout__.close()
os.close(1)
os.chdir("/")
"""
# What it may not, and what is said of it.
REFUSED = {
    "input('name?')": "cannot import mine.py: EOFError",
    "raise KeyboardInterrupt": "cannot import mine.py: KeyboardInterrupt",
    "import sys; sys.exit(3)": "cannot import mine.py: SystemExit: 3",
    "torch.Tensor.abs = lambda s: s": "torch.Tensor.abs (mine.py, line ",
}


def test_an_odd_file_gets_its_verdict(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCHEDULER.replace("=1000", "=30") + ODD)
    spec = ("--candidate", "mine.py:MyScheduler", "--only", "schedule", "--json", "r.json")
    done = command(*spec, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is right" in done.stdout.splitlines()[0]
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "printed" not in done.stdout
    assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize("text", each(2, REFUSED))
def test_a_file_that_cannot_be_judged_gets_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCHEDULER + text)
    done = command("--candidate", "mine.py:MyScheduler", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("ddpm compare: mine.py:MyScheduler could not be run: ")
    assert REFUSED[text] in line


def test_a_stage_that_there_is_not_is_refused(capsys: pytest.CaptureFixture) -> None:
    assert main(arguments("--only", "nonsense")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ddpm compare: no stage 'nonsense'; stages are schedule, forward, ")


@pytest.mark.parametrize("option", ["--json", "--html", "--only", "--expect"])
def test_a_list_of_names_takes_no_options_of_a_verdict(
    option: str, capsys: pytest.CaptureFixture
) -> None:
    said = {"--only": "mean"}.get(option, "new.txt")
    assert main(arguments("--candidate", "mine.py", option, said)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"leave {option} out, or give mine.py:NAME" in line


def test_the_list_says_every_stage_in_words(capsys: pytest.CaptureFixture) -> None:
    assert main(arguments("--list")) == 0
    lines = capsys.readouterr().out.splitlines()
    known = [stage.name for stage in (*stages.ALL, *backends.ALL)]
    assert [line.split()[0] for line in lines] == known
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("option", ["--json", "--html"])
def test_a_folder_is_no_file_to_write(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for words in ([option, str(tmp_path)], [option, str(tmp_path), "--force"]):
        assert main(arguments(*words)) == 2
        assert capsys.readouterr().err == (
            f"ddpm compare: {tmp_path} is a folder; give the name of a file\n"
        )
    assert main(arguments("--json", "one", "--html", "one")) == 2
    assert "give two names" in capsys.readouterr().err


def test_what_is_asked_before_a_comparison_needs_no_torch() -> None:
    script = (
        "import sys; from ddpm.cli import main\n"
        "for words in ('--help', '--template', '--json /'):\n"
        "    try: main(['compare', *words.split()])\n"
        "    except SystemExit: pass\n"
        "print([n for n in ('torch', 'numpy', 'diffusers') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_list_and_template_need_no_candidate(capsys: pytest.CaptureFixture) -> None:
    assert main(arguments("--list")) == 0
    assert "posterior mean" in capsys.readouterr().out
    assert main(arguments("--template")) == 0
    assert capsys.readouterr().out == SCHEDULER


def test_a_reader_that_stops_reading_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLE.read_text().replace("=1000", "=30"))
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does, sooner or later
    words = ("--candidate", "mine.py:MyScheduler", "--only", "schedule", "--json", "r.json")
    done = subprocess.run([sys.executable, "-m", "compare", *words], cwd=tmp_path, stdout=writing,
                          stderr=subprocess.PIPE, text=True, timeout=300)  # fmt: skip
    os.close(writing)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "r.json").exists()


@pytest.mark.parametrize("words", [["--timeout", "0"], ["--level", "x"]])
def test_bad_options_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments(*words)
    assert stopped.value.code == 2
