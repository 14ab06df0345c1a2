"""`ddpm adapt`: prints an adapter; what is no DDPM is one line."""

from pathlib import Path

import pytest

from ddpm.cli import main

ROOT = Path(__file__).parents[2]
NO_DDPM = sorted((ROOT / "workbench").glob("*.py"))[:10]


def test_it_prints_the_adapter(capsys: pytest.CaptureFixture) -> None:
    assert main(["adapt", f"{ROOT}/docs/examples/labml_like.py:DenoiseDiffusion"]) == 0
    printed = capsys.readouterr().out
    assert "from labml_like import DenoiseDiffusion" in printed
    assert "step=lambda out, t, x: made(as_network(out)).p_sample(x, t)," in printed


@pytest.mark.parametrize("file", [*NO_DDPM, Path("nowhere.py")], ids=lambda file: file.name)
def test_a_file_that_is_no_ddpm_is_one_line(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["adapt", str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("ddpm adapt: ")


def test_what_is_no_python_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "mine.py").write_text("def f(:")
    assert main(["adapt", str(tmp_path / "mine.py")]) == 2
    assert "is no Python" in capsys.readouterr().err
