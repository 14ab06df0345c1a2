"""Loading somebody else's code: apart from ours, in one line where it cannot be loaded."""

import sys
from pathlib import Path
from typing import Any

import pytest

import scratch
from compare.candidate.door.signature import named_keywords, takes_generator
from compare.candidate.load import (
    Adapter,
    Unloadable,
    apart,
    load,
    raised,
)
from compare.candidate.surroundings import ROOT
from compare.verdict.judge import judge


def test_a_file_is_loaded_with_its_neighbours_and_apart_from_ours(tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_text("WHOSE = 'mine'\n")
    (tmp_path / "mine.py").write_text(
        "import scratch\nclass M:\n    whose = scratch.WHOSE\n"
        "    def late(self):\n        import scratch\n        return scratch.WHOSE\n"
    )
    found, own = load(f"{tmp_path / 'mine.py'}:M")
    assert found.whose == "mine"
    assert sys.modules["scratch"] is scratch
    with apart(own):
        assert found().late() == "mine"
    assert sys.modules["scratch"] is scratch
    assert str(tmp_path) not in sys.path


def test_a_candidate_that_takes_its_folder_away_leaves_ours_in_place(tmp_path: Path) -> None:
    (tmp_path / "scratch.py").write_text("WHOSE = 'theirs'\n")
    text = "import sys\nfrom scratch import WHOSE\nsys.path.remove(sys.path[0])\n"
    (tmp_path / "mine.py").write_text(text)
    before = [*sys.path]
    assert load(f"{tmp_path / 'mine.py'}:WHOSE")[0] == "theirs"
    assert sys.modules["scratch"] is scratch
    assert sys.path == before


def test_two_candidates_have_each_its_own_neighbours(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "beside_it.py").write_text(f"WHOSE = {name!r}\n")
        (tmp_path / name / "mine.py").write_text("from beside_it import WHOSE\n")
    for name in ("one", "two", "one"):
        assert load(f"{tmp_path / name / 'mine.py'}:WHOSE")[0] == name


def test_an_adapter_beside_a_file_of_one_of_our_names_is_an_adapter_of_ours(tmp_path: Path) -> None:
    """Many a repository has a ddpm.py: compare is ours all the same."""
    (tmp_path / "ddpm.py").write_text("TABLE = [0.9, 0.5]\n")
    (tmp_path / "mine.py").write_text(
        "from compare import Adapter\ndef made():\n    from ddpm import TABLE\n"
        "    return Adapter(alpha_bar=lambda: TABLE)\n"
    )
    made, own = load(f"{tmp_path / 'mine.py'}:made")
    with apart(own):
        adapter = made()
    assert isinstance(adapter, Adapter)
    assert adapter.alpha_bar is not None
    assert adapter.alpha_bar() == [0.9, 0.5]


def test_a_name_may_lie_deeper_and_in_a_package(tmp_path: Path) -> None:
    (tmp_path / "deep.py").write_text("class A:\n    class B:\n        pass\n")
    assert load(f"{tmp_path / 'deep.py'}:A.B")[0].__name__ == "B"
    assert load("scratch.ddpm:DDPMScheduler")[0] is scratch.DDPMScheduler


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("", "M", "has no 'M'"),
        ("import nowhere_at_all", "M", "No module named 'nowhere_at_all' (install it"),
        ("class M(:", "M", "SyntaxError"),
        ("raise SystemExit(3)", "M", "SystemExit: 3"),
        ("raise RuntimeError('a\\nb')", "M", "RuntimeError: a b"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, text: str, name: str, says: str) -> None:
    file = tmp_path / "broken.py"
    file.write_text(text)
    with pytest.raises(Unloadable) as refused:
        load(f"{file}:{name}")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("mine", "must be FILE.py:NAME"),
        ("nowhere.py:M", "no such file: nowhere.py"),
        ("no.such.module:M", "cannot import no.such.module"),
    ],
)
def test_bad_specs(spec: str, says: str) -> None:
    with pytest.raises(Unloadable, match=says):
        load(spec)


def test_only_named_keywords_count_where_no_base_names_more() -> None:
    class M:
        def __init__(self, a, b=2, *more, c=3, **rest):
            pass

    assert list(named_keywords(M)) == ["a", "b", "c"]


def test_keywords_of_a_class_are_those_of_its_bases_while_it_passes_them_on() -> None:
    class Base:
        def __init__(self, num_train_timesteps=1000, beta_end=0.02):
            pass

    class Passes(Base):
        def __init__(self, beta_end=0.05, **kwargs):
            super().__init__(beta_end=beta_end, **kwargs)

    class Again(Passes):
        def __init__(self, *args, clip_sample=True, **kwargs):
            super().__init__(*args, **kwargs)

    class Stops(Passes):
        def __init__(self, beta_start=0.1):
            super().__init__()

    class Inherits(Passes):
        pass

    assert named_keywords(Passes) == {"num_train_timesteps": 1000, "beta_end": 0.05}
    assert named_keywords(Again) == {**named_keywords(Passes), "clip_sample": True}
    assert named_keywords(Stops) == {"beta_start": 0.1}
    assert named_keywords(Inherits) == named_keywords(Passes)


def test_roles_and_their_generator() -> None:
    def plain(model, what):
        return "plain"

    def seeded(model, what, generator):
        return "seeded"

    assert not takes_generator(plain, 2)
    assert takes_generator(seeded, 2)
    assert takes_generator(lambda *args: None, 2)
    adapter = Adapter(loss=plain, sample=seeded).with_generators()
    assert adapter.roles == ["sample", "loss"]
    assert adapter.loss is not None
    assert adapter.loss(None, None, None) == "plain"
    with pytest.raises(TypeError, match="takes no generators"):
        adapter.loss(None, None, [None])
    assert adapter.sample is seeded


def test_an_error_names_the_candidates_own_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import torch\ndef step():\n    torch.zeros(2).view(3)\n")
    step, _ = load(f"{tmp_path / 'mine.py'}:step")
    with pytest.raises(RuntimeError) as caught:
        step()
    said = raised(caught.value)
    assert said.startswith("RuntimeError: shape '[3]' is invalid")
    assert said.endswith("(mine.py, line 3)")


def test_a_file_whose_name_begins_as_ours_do_is_the_candidates(tmp_path: Path) -> None:
    file = f"{ROOT / 'ddpm'}_mine.py"
    step = compile("def step():\n    raise RuntimeError('boom')\n", file, "exec")
    found: dict[str, Any] = {}
    exec(step, found)
    with pytest.raises(RuntimeError) as caught:
        found["step"]()
    assert raised(caught.value) == "RuntimeError: boom (ddpm_mine.py, line 2)"


MISSING_AXES = """
import torch

class Mine:
    def __init__(self, num_train_timesteps=1000):
        self.betas = torch.linspace(1e-4, 0.02, num_train_timesteps)
        self.alphas_cumprod = (1 - self.betas).cumprod(0)

    def add_noise(self, original_samples, noise, timesteps):
        a = self.alphas_cumprod[timesteps].view(-1, AXES)
        return a.sqrt() * original_samples + (1 - a).sqrt() * noise
"""


@pytest.mark.parametrize(
    ("axes", "says"),
    [
        ("1, 1, 1", "is right: "),
        ("1", "is right for points (b, d), and not for pictures (b, c, h, w)"),
        ("1, 1", "is right for sequences (b, l, d), and not for pictures (b, c, h, w)"),
    ],
)
def test_a_missing_axis_is_no_right_for_pictures(axes: str, says: str, tmp_path: Path) -> None:
    """It broadcasts over the rows of as many pictures as they have rows, and raises at others."""
    (tmp_path / "mine.py").write_text(MISSING_AXES.replace("AXES", axes))
    report = judge(f"{tmp_path / 'mine.py'}:Mine", "quick", 0, beside=False)
    assert says in report.verdict


@pytest.mark.parametrize("axes", ["1", "1, 1"])
def test_what_calls_them_images_is_not_read_as_of_something_else(axes: str, tmp_path: Path) -> None:
    text = MISSING_AXES.replace("AXES", axes).replace("original_samples", "images")
    (tmp_path / "mine.py").write_text(text)
    report = judge(f"{tmp_path / 'mine.py'}:Mine", "quick", 0, beside=False)
    assert not report.passed
    assert "add_noise" in report.verdict


def test_a_file_of_another_kind_is_told_as_that(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# mine")
    report = judge(f"{tmp_path / 'README.md'}:X", "quick", 0, beside=False)
    assert "README.md is no .py file; expected FILE.py:NAME" in report.verdict


TABLE = "import torch\n\nAB = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)\n"
FORWARD = """
class Mine:
    alphas_cumprod = AB

    def add_noise(self, original_samples, noise, timesteps):
        a = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
        return a.sqrt() * original_samples + (1 - a).sqrt() * noise
"""


@pytest.mark.parametrize(
    ("table", "mark", "works"),
    [
        ("src/ddpm/tables.py", "", True),  # the package in which it lies, called as ours is
        ("src/noising/tables.py", "", True),
        ("tables_of/mine.py", "pyproject.toml", True),  # beside it, in one project
        ("levels_of/mine.py", "", False),
    ],
)
def test_a_file_finds_the_modules_of_its_project(
    tmp_path: Path, table: str, mark: str, works: bool
) -> None:
    package, module = Path(table).parts[-2], Path(table).stem
    lies_in = Path(table).parent if table.startswith("src") else Path("models")
    file = tmp_path / lies_in / "schedulers" / "mine.py"
    for made, text in (
        (tmp_path / table, TABLE),
        (file, f"from {package}.{module} import AB\n{FORWARD}"),
    ):
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
    if mark:
        (tmp_path / mark).touch()
    if package == "ddpm":  # else Python takes ours: a bare folder comes after all packages
        (tmp_path / table).with_name("__init__.py").touch()
    report = judge(f"{file}:Mine", "quick", 0, beside=False)
    assert report.passed == works, report.verdict
    if not works:
        assert f"No module named '{package}'" in report.verdict
    assert not [*tmp_path.rglob("__pycache__")]
    import ddpm

    assert str(tmp_path) not in str(ddpm.__file__)
