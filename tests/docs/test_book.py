"""The book without building it: what its pages quote exists, and their order is whole."""

import ast
import json
import re
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import book
import check_built
import kills
import pair
import pytest
import verdicts
import yaml
from pairs import PAIRS, Pair

from compare.mistakes import ALL
from ddpm.exercises.index import BY_ID, EXERCISES
from ddpm.exercises.judge import judge

DOCS = Path(__file__).resolve().parents[2] / "docs"

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
    with pytest.raises(pair.CutError, match="region z must start once and then end once"):
        pair.cut_ours("a.py", "z")
    (tmp_path / "b.py").write_text("# region: x\ndef y():\n    pass\n# endregion: y\n")
    with pytest.raises(pair.CutError, match="region y must start once and then end once"):
        pair.cut_ours("b.py", "y")
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


def test_what_other_sources_made_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pair, "ROOT", tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1\n")
    before = [pair.digest("one"), pair.digest("one", "two")]
    assert before == [pair.digest("one"), pair.digest("one", "two")]
    (tmp_path / "two" / "a.py").write_text("x = 2\n")
    assert pair.digest("one") == before[0]
    assert pair.digest("one", "two") != before[1]
    monkeypatch.setattr(pair, "version", lambda name: "0.0.1")
    assert pair.digest("one") != before[0]


def test_every_page_is_in_the_contents_once():
    listed = []
    for page in PAGES:
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in block.splitlines() if line and not line.startswith(":")]
            base = page.parent
            listed += [str((base / e).resolve().relative_to(DOCS)) for e in entries]
    assert sorted([*listed, "index"]) == sorted(NAMES)


def test_numbered_pages_are_in_order_and_lead_to_the_next():
    index = (DOCS / "index.md").read_text()
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", index, re.DOTALL)
    entries = [e for b in blocks for e in b.splitlines() if e and not e.startswith(":")]
    numbers = []
    for entry, following in pairwise(entries):
        text = (DOCS / f"{entry}.md").read_text()
        if title := re.search(r"^# (\d+)\. ", text, re.MULTILINE):
            numbers.append(int(title[1]))
            said = re.findall(r"\bnext:\s+\[[^]]+\]\((\S+)\.md\)", text)
            assert said == [following], f"{entry} should lead to {following}"
    assert numbers == list(range(18))


def test_a_line_of_python_that_wraps_goes_on_further_in():
    page = (
        '<div class="highlight-python notranslate"><div class="highlight"><pre>'
        '<span class="k">def</span> f():\n<span class="w">    </span>x = 1\n\n</pre></div></div>'
        '<div class="highlight-console notranslate"><div class="highlight"><pre>$ a\n</pre></div>'
    )
    hung = book.hang_wrapped_lines(page)
    assert book.TAG.sub("", hung) == book.TAG.sub("", page).replace("\n\n", "\n", 1)
    assert re.findall(r"--hang:(\d+)ch", hung) == ["2", "6"]
    output = (
        '<div class="output stream highlight-myst-ansi notranslate"><div class="highlight"><pre>'
    )
    assert "--hang:4ch" in book.hang_wrapped_lines(f"{output}  x\n</pre></div></div>")
    assert hung.endswith("<pre>$ a\n</pre></div>")


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
        if cell.startswith("---\n"):
            assert isinstance(yaml.safe_load(head), dict), f"{page.name}: no options\n{head}"
        if "plt.show()" in code or re.search(r"^show\(", code, re.MULTILINE):
            assert "alt:" in head, f"{page.name}: a figure without alternative text\n{code}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_numbers_in_an_alternative_text_come_from_the_cells(page: Path):
    for said in re.findall(r"^ *alt: (.*)$", page.read_text(), re.MULTILINE):
        typed = re.findall(r"\d\.\d|\de-\d", re.sub(r"\{[^}]*\}", "", said))
        assert not typed, f"{page.name}: glue them, and write {{name:form}} in their place\n{said}"
        glued = set(re.findall(r'glue\(f?"(\w+)', page.read_text()))
        assert set(re.findall(r"\{(\w+)[:}]", said)) <= glued, f"{page.name}: {said}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_ends_with_three_sentences(page: Path):
    if (page.name == "index.md" and page.parent == DOCS) or page.parent.name == "api":
        return
    end = re.split(r"^## (?:In three sentences|En trois phrases)\n", page.read_text(), flags=re.M)
    assert len(end) == 2, f"{page.name} has no summary, or several"
    said = re.findall(r"^(\d)\. .+\.$", end[1], re.MULTILINE)
    assert said == ["1", "2", "3"], f"{page.name}: {end[1]}"
    assert not re.search(r"^## ", end[1], re.MULTILINE), f"{page.name}: it stands at the end"


def test_an_alternative_text_is_filled_with_numbers():
    body = '<img alt="up to {most:.1f} at t = {t}" src="a.png"> <p>{most}</p> <img alt="none">'
    filled = book.with_numbers(body, {"most": 0.25, "t": 7})
    assert filled == '<img alt="up to 0.2 at t = 7" src="a.png"> <p>{most}</p> <img alt="none">'
    with pytest.raises(KeyError, match="gone"):
        book.with_numbers('<img alt="{gone}">', {})


def split_cell(cell: str) -> tuple[str, str]:
    """Options and code of a cell."""
    if cell.startswith("---\n"):
        head, _, code = cell[4:].partition("\n---\n")
        return head, code
    lines = cell.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith(":")), len(lines))
    return "\n".join(lines[:count]), "\n".join(lines[count:])


def test_a_section_that_is_called_exercise_leads_to_one():
    ids = {exercise.id for exercise in EXERCISES}
    for page in PAGES:
        for section in re.findall(
            r"^## Exercises?$(.*?)(?=^## |\Z)", page.read_text(), re.M | re.S
        ):
            named = set(re.findall(r"`(?:ddpm exercise )?(\d+[a-z])`", section))
            assert named, f"{page.name}: its exercise names no `ddpm exercise ID`"
            assert named <= ids, f"{page.name} names {named - ids}"


def test_every_exercise_is_on_its_page():
    for exercise in EXERCISES:
        page = DOCS / f"{exercise.page}.md"
        assert f"{exercise.id}`" in page.read_text(), f"{page.name} does not name {exercise.id}"


def test_what_the_page_of_exercises_shows_is_what_one_is_told():
    exercise = BY_ID["6a"]
    said = "\n".join(judge(exercise, exercise.wrong["38"]).lines(exercise))
    assert (
        f"$ ddpm exercise 6a                 # right?\n{said}\n"
        in (DOCS / "exercises.md").read_text()
    )


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_question_is_answered_where_it_stands(page: Path):
    for block in re.findall(r":class: predict\n(.*?)\n:::", page.read_text(), re.DOTALL):
        assert re.search(r"\[Answer[^]]*\]\(#", block), (
            f"{page.name}: no way to the answer\n{block}"
        )
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE):
        if section.startswith("A question"):
            assert ":::{dropdown} Answer" in section or "hide-cell" in section, page.name


def test_the_contract_sends_each_keyword_to_a_page_that_names_it():
    text = (DOCS / "write-your-own.md").read_text()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|.*\[\d+\]\((\S+)\.md(?:#\S+)?\) \|$", text, re.M)
    assert len(rows) == 10
    for keywords, page in rows:
        for word in re.findall(r"`(\w+)`", keywords):
            assert word in (DOCS / f"{page}.md").read_text(), f"{page} does not name {word}"


# --- the generated pages ---


def rows_of_kills(leave_out: str = "") -> list[dict]:
    """A kill table in which everything is found and named."""
    return [
        {"mistake": m.id, "stage": m.stage, "failing": [f"{m.stage}/x"], "named": [m.id]}
        for m in ALL
        if m.id.split("-")[0] != leave_out
    ]


def test_the_kill_table_has_every_mistake_that_a_check_can_see():
    rows = rows_of_kills()
    page = kills.page(rows)
    assert page.startswith(
        f"**{len(rows)} of {len(rows)} mistakes are found, {len(rows)} are named"
    )
    for row in rows:
        assert f"| `{row['mistake']}` |" in page
    for stage in ("unet", "training", "loss"):
        assert f"{stage.capitalize()}: " in page
    with pytest.raises(ValueError, match=r"the kill table lacks the mistakes \[95\]"):
        kills.page(rows_of_kills(leave_out="95"))


def test_a_network_and_an_average_are_killed_and_named():
    for id, check in (("100", "buffers"), ("101", "moves"), ("101-kept", "gives-back")):
        killed = kills.kill(id)
        assert (killed["failing"], killed["named"]) == ([f"training/average/{check}"], [id])
    killed = kills.kill("92-out")
    assert (killed["failing"][0], killed["named"]) == ("unet/blocks", ["92-out"])


def test_the_book_shows_what_is_kept_and_judges_the_rest(monkeypatch, tmp_path):
    monkeypatch.setattr(kills, "place", lambda: tmp_path)
    for row in rows_of_kills(leave_out="100"):
        kills.keep(row)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        page = kills.begin(pool)()
    assert "| `5` | `forward/x` | `5` |" in page
    assert "| `100` | `training/average/buffers` | `100` |" in page
    assert "| `training/average/gives-back` | `101-kept` | – |" in page  # the same by check
    assert json.loads((tmp_path / "100.json").read_text())["named"] == ["100"]


def test_a_check_lists_the_mistakes_that_fail_it():
    first = {"mistake": "5", "stage": "forward", "failing": ["forward/a", "forward/b"], "named": []}
    then = {"mistake": "6", "stage": "forward", "failing": ["forward/b"], "named": ["6"]}
    assert kills.by_check([first, then], "forward") == [
        ("`forward/a`", "`5`", "–"),
        ("`forward/b`", "`6`", "`5`"),
    ]
    assert kills.by_check([first, then], "mean") == []


def test_the_catalogue_says_all_of_each_mistake():
    page = verdicts.mistakes_page()
    for mistake in ALL:
        assert f"| `{mistake.id}` {mistake.name} | {verdicts.cell(mistake.words)} |" in page
        assert verdicts.cell(mistake.effect) in page
    for stage in {mistake.stage for mistake in ALL}:
        assert f":::::{{dropdown}} {stage.capitalize()}: " in page, "reference is folded"
    assert "that of `68`, `68-divide` on [another](reverse-step.md)" in page
    link = "[huggingface/diffusers#2076](https://github.com/huggingface/diffusers/issues/2076)"
    assert f"(seen in {link}) |" in page
    commit = "[a/b@0123abc](https://github.com/a/b/commit/0123abc)"
    assert verdicts.seen_link("a/b@0123abc") == commit
    assert verdicts.seen_link("a/b c.py") == "[a/b c.py](https://github.com/a/b)"


def test_every_stage_has_a_page():
    assert all((DOCS / f"{page}.md").is_file() for page in verdicts.STAGE_PAGES.values())


def test_the_table_of_exercises_leads_to_their_pages():
    rows = verdicts.exercises_table().splitlines()[2:]
    assert len(rows) == len(EXERCISES)
    for exercise, row in zip(EXERCISES, rows, strict=True):
        assert row.startswith(f"| `{exercise.id}` | {{func}}`~{exercise.module}.")
        assert row.endswith(f"({exercise.page}.md) | {exercise.hints} |")
        assert exercise.stage in verdicts.STAGES
        assert f" | {verdicts.cell(exercise.asks)} | " in row


def test_text_in_a_cell_of_a_table_is_taken_as_it_is():
    assert verdicts.cell("a_b |c| [x] `d_e|f`") == r"a\_b \|c\| \[x] `d_e\|f`"
    assert verdicts.cell(None) == ""


def test_a_borrowed_cell_is_the_other_pages_with_another_alternative_text(monkeypatch, tmp_path):
    class App:
        class env:
            note_dependency = staticmethod(lambda page: None)

    text = "```{cell} notebooks/tutorial-diffusers noise\n:alt: Du bruit.\n```"
    source = [text]
    book.borrow_cells(App, "fr/x", source)
    own = "One sprite at sixteen noise levels, from clean to pure noise."
    assert f"    alt: {own}\n" in source[0]  # the same cell: it is run once for both
    assert "scheduler.add_noise(" in source[0]

    pages = tmp_path / "notebooks"
    pages.mkdir()
    (pages / "tutorial-diffusers.md").write_text(
        (DOCS / "notebooks/tutorial-diffusers.md").read_text()
    )
    (tmp_path / "x.md").write_text(text)
    monkeypatch.setattr(book, "DOCS", tmp_path)
    context = {"body": f'<img alt="{own}">'}
    book.translate_alternative_texts(None, "x", "page.html", context, None)
    assert context["body"] == '<img alt="Du bruit.">'
    with pytest.raises(ValueError, match="no picture has the alternative text"):
        book.translate_alternative_texts(None, "x", "page.html", {"body": ""}, None)
    with pytest.raises(ValueError, match="has no code cell named gone"):
        book.borrow_cells(App, "x", ["```{cell} notebooks/tutorial-diffusers gone\n```"])


def test_a_notebook_to_take_away_goes_by_a_run_of_the_readers():
    line = 'RUN = "../_gen/runs/digits"  # by ddpm train --output runs/digits'
    code = {"cell_type": "code", "metadata": {}, "source": line}
    (cell,) = book.to_take_away({"cells": [code]})["cells"]
    assert cell["source"] == line.replace("../_gen/", "")


def test_a_notebook_to_take_away_needs_no_book():
    said = "Some {glue:text}`x:.1f` of {glue:text}`n`, see [the page](../page.md#there)."
    text = {"cell_type": "markdown", "metadata": {}, "source": said}
    outputs = [
        {"data": {book.GLUED_AS: value}, "metadata": {"scrapbook": {"name": name}}}
        for name, value in (("x", "0.25"), ("n", "7"))
    ]
    build = {"cell_type": "code", "metadata": {"tags": ["remove-cell"]}, "outputs": outputs}
    code = {"cell_type": "code", "metadata": {}, "outputs": [], "source": "1"}
    cells = book.to_take_away({"cells": [text, build, code]})["cells"]
    assert cells == [{**text, "source": "Some 0.2 of 7, see the page."}, code]


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
        '<div class="output stderr x">y</div>': "1 cells show what went to stderr",
    }
    for text, words in bad.items():
        (tmp_path / "index.html").write_text(good + text)
        (problem,) = check_built.problems(tmp_path)
        assert words in problem


def test_a_built_notebook_was_executed_and_holds_no_warning(tmp_path: Path):
    (tmp_path / "index.html").write_text("<p>x</p>")
    warned = {"output_type": "stream", "name": "stderr", "text": "x"}
    for count, outputs, words in (
        (1, [], []),
        (None, [], ["a.ipynb: was not executed"]),
        (1, [warned], ["a.ipynb: holds what went to stderr"]),
    ):
        cell = {"cell_type": "code", "execution_count": count, "outputs": outputs}
        (tmp_path / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
        assert check_built.problems(tmp_path) == words


def test_names_in_a_table_break_between_their_words():
    code = '<code class="docutils literal"><span class="pre">num_train(T)</span></code>'
    cell = f'<td><p>{code}<a class="x_y" href="a_b.html">c_d</a></p></td>'
    broken = book.break_names_at_underscores(code + cell)
    assert broken.startswith(code)
    assert "num_<wbr>train(<wbr>T)" in broken
    assert broken.replace("<wbr>", "") == code + cell
    empty = '<td><span class="pre">f()</span></td>'
    assert book.break_names_at_underscores(empty) == empty
    head = '<th class="head"><span class="pre">a_b</span></th>'
    assert "a_<wbr>b" in book.break_names_at_underscores(head)


def test_an_empty_folder_is_a_problem(tmp_path: Path):
    assert check_built.main([str(tmp_path)]) == 1
    assert check_built.main([]) == 2
