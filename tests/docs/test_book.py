"""The book without building it: what its pages quote exists, and their order is whole."""

import ast
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
sys.path.insert(0, str(DOCS))

import check_built  # noqa: E402
import pair  # noqa: E402
from pairs import PAIRS, Pair  # noqa: E402

PAGES = sorted(
    page for page in DOCS.rglob("*.md") if "_gen" not in page.parts and "_build" not in page.parts
)
NAMES = [str(page.relative_to(DOCS))[:-3] for page in PAGES]


@pytest.fixture(scope="module", autouse=True)
def library():
    """The installed library's files, where the cuts look for them."""
    pair.copy_library()


@pytest.mark.parametrize("name", PAIRS)
def test_both_sides_of_a_pair_can_be_cut(name: str):
    wanted: Pair = PAIRS[name]
    for path, region in wanted.scratch:
        cut = pair.cut_ours(path, region)
        assert cut.text.strip()
        assert '"""' not in cut.text, "the docstring is left to the reference"
    if wanted.library:
        cut = pair.cut_library(*wanted.library)
        assert 1 <= len(cut.text.splitlines()) <= 45, cut.text


def test_regions_fit_their_column():
    """Regions are shown two columns wide: 64 characters without their indentation."""
    for file in sorted((DOCS.parent / "scratch").glob("*.py")):
        for name in re.findall(r"^\s*# region: (\S+)$", file.read_text(), re.MULTILINE):
            cut = pair.cut_ours(f"scratch/{file.name}", name)
            wide = [line for line in cut.text.splitlines() if len(line) > 64]
            assert not wide, f"{file.name}, region {name}: {wide}"


def test_a_lost_marker_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pair, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text("# region: x\ny = 1\n# endregion: z\n")
    with pytest.raises(pair.CutError, match="region x must start once and then end once"):
        pair.cut_ours("a.py", "x")
    with pytest.raises(pair.CutError, match="neither a region nor a function named y"):
        pair.cut_ours("a.py", "y")
    with pytest.raises(pair.CutError, match=r"has no line with '# 9\. gone'"):
        pair.cut_library("schedulers/scheduling_ddpm.py", "# 9. gone", "# 6.")


def test_numbered_parts_of_a_region(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pair, "ROOT", tmp_path)
    text = "# region: x\n# 1. one\na = 1\n\n# 2. two\nb = 2\n# endregion: x\n"
    (tmp_path / "a.py").write_text(text)
    assert pair.cut_ours("a.py", "x/1").text == "# 1. one\na = 1"
    assert pair.cut_ours("a.py", "x/2").text == "# 2. two\nb = 2"
    with pytest.raises(pair.CutError, match=r"'# 3\. '"):
        pair.cut_ours("a.py", "x/3")


def test_every_page_is_in_the_contents_once():
    listed = []
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            base = page.parent
            listed += [str((base / e).resolve().relative_to(DOCS)) for e in entries]
    assert sorted([*listed, "index"]) == sorted(NAMES)


def test_every_pair_and_cell_that_a_page_names_exists():
    for page in PAGES:
        text = page.read_text()
        for name in re.findall(r"```\{pair\} (\S+)", text):
            assert name in PAIRS, f"{page.name} shows an unknown pair {name}"
        for path, name in re.findall(r"```\{ours\} (\S+) (\S+)", text):
            assert pair.cut_ours(path, name).text, f"{page.name}: {path} {name}"
        for source, name in re.findall(r"```\{cell\} (\S+) (\S+)", text):
            origin = (DOCS / f"{source}.md").read_text()
            assert f"name: {name}\n" in origin, f"{page.name} borrows {name}, not in {source}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_cells_compile_and_figures_have_alternative_text(page: Path):
    for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page.read_text(), re.DOTALL):
        head, code = split_cell(cell)
        ast.parse(code)
        if "plt.show()" in code or re.search(r"^show\(", code, re.MULTILINE):
            assert "alt:" in head, f"{page.name}: a figure without alternative text\n{code}"


def split_cell(cell: str) -> tuple[str, str]:
    """Options and code of a cell."""
    if cell.startswith("---\n"):
        head, _, code = cell[4:].partition("\n---\n")
        return head, code
    lines = cell.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith(":")), len(lines))
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def test_the_built_book_is_checked(tmp_path: Path):
    (tmp_path / "other.html").write_text('<p id="here">x</p>')
    good = (
        '<a href="other.html#here">x</a><a href="https://arxiv.org">y</a><img src="a.png" alt="a">'
    )
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "index.html").write_text(good)
    assert check_built.problems(tmp_path) == []
    bad = {
        '<a href="gone.html">x</a>': "which is not there",
        '<a href="other.html#gone">x</a>': "no such place",
        '<img src="a.png">': "without alternative text",
        '<span style="color:#cc0000">x</span>': "KaTeX could not draw",
        '<script src="https://cdn.example.org/a.js"></script>': "fetches https",
    }
    for text, words in bad.items():
        (tmp_path / "index.html").write_text(good + text)
        (problem,) = check_built.problems(tmp_path)
        assert words in problem


def test_an_empty_folder_is_a_problem(tmp_path: Path):
    assert check_built.main([str(tmp_path)]) == 1
    assert check_built.main([]) == 2
