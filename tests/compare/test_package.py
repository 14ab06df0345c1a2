"""A file of a package, whose imports are relative: loaded, judged, and adapted."""

import subprocess
import sys
from pathlib import Path

import pytest

from compare import run
from compare.candidate.load import Unloadable, load
from compare.candidate.text.adapt import adapter
from compare.candidate.text.package import package_of

TABLES = "import torch\n\ndef linear(T):\n    return torch.linspace(1e-3, 0.2, T)\n"
CLASS = """
import torch
from IMPORTED import linear

class Diffusion:
    def __init__(self, model, T=100):
        self.model, self.T = model, T
        self.betas = linear(T)
        self.ab = (1 - self.betas).cumprod(0)

    def loss(self, x_0):
        t, noise = torch.randint(0, self.T, (len(x_0),)), torch.randn_like(x_0)
        at = self.ab[t].view(-1, 1, 1, 1)
        return (self.model(at.sqrt() * x_0 + (1 - at).sqrt() * noise, t) - noise).square().mean()
"""


def package(folder: Path, imported: str, init: bool = True, ours: str = "lib") -> Path:
    """A package with tables at its top and a class beside or below them."""
    below = imported.startswith("..")
    file = folder / ours / ("models" * below) / "diffusion.py"
    file.parent.mkdir(parents=True)
    (folder / ours / "tables.py").write_text(TABLES)
    file.write_text(CLASS.replace("IMPORTED", imported))
    for inside in {folder / ours, file.parent} if init else ():
        (inside / "__init__.py").write_text("import nowhere_at_all\n" if ours == "bad" else "")
    return file


@pytest.mark.parametrize("init", [True, False], ids=["with __init__", "bare"])
@pytest.mark.parametrize("imported", [".tables", "..tables"])
def test_it_is_judged_as_it_lies(imported: str, init: bool, tmp_path: Path) -> None:
    file = package(tmp_path, imported, init)
    report = run(f"{file}:Diffusion")
    assert report.passed, report
    other = package(tmp_path / "other", imported, init)  # of the same name
    other.write_text(CLASS.replace("IMPORTED", imported).replace("(1 - at).sqrt()", "(1 - at)"))
    wrong = run(f"{other}:Diffusion")
    assert wrong.exit_status == 1, wrong
    assert wrong.diagnoses[0].bug == "6", wrong
    assert not [*tmp_path.rglob("__pycache__")]


def test_a_package_called_as_ours_and_one_that_imports_itself(tmp_path: Path) -> None:
    file = package(tmp_path, ".tables", ours="compare")
    (file.parent / "__init__.py").write_text("from .diffusion import Diffusion\nNAME = 3\n")
    found, _ = load(f"{file}:Diffusion")
    assert found.__name__ == "Diffusion"
    import compare

    assert not hasattr(compare, "NAME")


def test_what_it_lacks_is_one_line(tmp_path: Path) -> None:
    for ours, imported, says in (
        ("bad", ".tables", "No module named 'nowhere_at_all' (install it"),
        ("lib", ".no_tables", "No module named 'lib.no_tables'"),
    ):
        with pytest.raises(Unloadable) as refused:
            load(f"{package(tmp_path, imported, ours=ours)}:Diffusion")
        assert says in str(refused.value)
        assert "_candidate_" not in str(refused.value)


def test_a_neighbour_that_reaches_further_up_is_named_by_its_module(tmp_path: Path) -> None:
    file = package(tmp_path, ".tables", init=False)
    (file.parent / "tables.py").write_text("from ..elsewhere import linear\n")
    with pytest.raises(Unloadable, match=r"part of a package.*package\.module:NAME"):
        load(f"{file}:Diffusion")


def test_its_adapter_imports_it_from_beside_the_package(tmp_path: Path) -> None:
    file = package(tmp_path, "..tables")
    text = adapter(file, "Diffusion", file.read_text())
    assert f"It belongs into {tmp_path}, beside the package." in text
    assert "from lib.models.diffusion import Diffusion" in text
    (tmp_path / "adapted.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "compare", "--candidate", "adapted.py:adapted", "--only", "loss"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_outermost_package_is_found(tmp_path: Path) -> None:
    file = package(tmp_path, ".tables")
    assert package_of(file, file.read_text()) == (tmp_path, "lib.diffusion")
    assert package_of(file, "import torch\n") == (file.parent, "diffusion")
    assert package_of(file, "no Python (") == (file.parent, "diffusion")
