"""What the book's build does besides Sphinx: see `setup`, which names it all.

Everything generated goes to `docs/_gen`, which git ignores.
"""

import ast
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import is_dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pair import GENERATED, digest

DOCS = Path(__file__).resolve().parent.parent
RUNS = {  # what pages sample from, by its folder in `_gen/runs`
    "digits": "--preset digits --num-train-timesteps 1000",
    "labels": "--preset digits --num-train-timesteps 1000 --class-conditional --channels 16,32 "
    "--layers-per-block 1 --batch-size 64 --learning-rate 0.002 --lr-schedule constant --steps 800 "
    "--save-every 100 --keep 8 --no-sample-grid",
}
CELL = re.compile(r"^```\{code-cell\}.*?^```$", re.DOTALL | re.MULTILINE)
BORROWED = re.compile(
    r"^```\{cell\} (?P<page>\S+) (?P<name>\S+)\n(:alt: (?P<alt>.+)\n)?```$", re.MULTILINE
)
FIGURE_ALT = re.compile(r'\balt="[^"]*\{[^"]*"')
PLACE = re.compile(r"\{(?P<name>\w+)(:(?P<form>[^}]+))?\}")
NAMED = re.compile(r"^(\s+)(\w+): ")
ALT = re.compile(r"^( *alt: )(.*)$", re.MULTILINE)
GLUED = re.compile(r"\{glue:text\}`(?P<name>[^`:]+)(:(?P<form>[^`]+))?`")
GLUED_AS = "application/papermill.record/text/plain"
LINES = re.compile(
    r'(<div class="[^"]*highlight-(?:i?python3?|myst-ansi) [^>]*>'
    r'<div class="highlight"><pre[^>]*>)(.*?)(</pre>)',
    re.DOTALL,
)
TABLE_CELL = re.compile(r"<t([dh])[ >].*?</t\1>", re.DOTALL)
CODE_WORD = re.compile(r'(?<=<span class="pre">)[^<]+')
TAG = re.compile(r"<[^>]+>")
PAGE_LINK = re.compile(r"\[(?P<text>[^]]+)\]\([^)]+\.md[^)]*\)")
NAME = re.compile(r"^:?name: *(?P<name>\S+)$", re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    """Connect each step to the moment at which Sphinx is to do it."""
    app.connect("builder-inited", make_cache)
    app.connect("builder-inited", begin_judging)
    app.connect("builder-inited", lambda app: [train(name) for name in RUNS])
    app.connect("builder-inited", lambda app: app.finish_judging())
    app.connect("source-read", borrow_cells)
    app.connect("env-updated", write_in_one_process)
    app.connect("autodoc-process-docstring", escape_formulas, priority=100)  # before napoleon
    app.connect("autodoc-process-docstring", say_options)
    app.connect("html-page-context", translate_alternative_texts)
    app.connect("html-page-context", fill_alternative_texts)
    app.connect("html-page-context", make_code_focusable, priority=900)  # after the theme
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True}


def begin_judging(app: Any) -> None:
    """What is judged goes on beside the training, each on one core: first the verdicts, then kills.

    All of it ends before a page is read: pages are read in forks, where no pool is waited for.
    """
    import kills
    import torch
    import verdicts

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes to come
    torch.set_num_threads(1)
    GENERATED.mkdir(exist_ok=True)
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    written, finish_kill_table = pool.submit(verdicts.write), kills.begin(pool)

    def finish_judging() -> None:
        (GENERATED / "kill-table.md").write_text(finish_kill_table())
        written.result()
        pool.shutdown()

    app.finish_judging = finish_judging


def write_in_one_process(app: Any, env: Any) -> None:
    """Pages are read three at a time; one server draws the formulas of all, as they are written."""
    app.parallel = 1


def train(name: str) -> None:
    """A run of `RUNS` that pages sample from, minutes at most, where our sources are new."""
    folder = GENERATED / "runs" / name
    made_by = folder.parent / f"{name}-sources.txt"
    sources = f"{digest('scratch', 'workbench')} {RUNS[name]}"
    if made_by.exists() and made_by.read_text() == sources:
        return
    shutil.rmtree(folder, ignore_errors=True)
    from ddpm import cli

    options = [*RUNS[name].split(), "--device", "cpu", "--quiet", "--output", str(folder)]
    if cli.main(["train", *options]) != 0:
        raise RuntimeError(f"the run {name} that the pages sample from could not be trained")
    made_by.write_text(sources)


def borrow_cells(app: Any, docname: str, source: list[str]) -> None:
    """Put another page's code cell where `{cell} PAGE NAME` stands: text twice, code once.

    Who borrows all cells of a page runs none: its cells are in the cache under the same digest.
    """

    def cell(match: re.Match[str]) -> str:
        app.env.note_dependency(str(DOCS / f"{match['page']}.md"))
        return cell_of(docname, match)

    source[0] = BORROWED.sub(cell, source[0])


def cell_of(docname: str, borrowed: re.Match[str]) -> str:
    """The code cell that a page borrows.

    Raises:
        ValueError: there is none of that name.
    """
    page = DOCS / f"{borrowed['page']}.md"
    for found in CELL.finditer(page.read_text()):
        name = NAME.search(found[0])
        if name and name["name"] == borrowed["name"]:
            return found[0]
    raise ValueError(f"{docname}: {page.name} has no code cell named {borrowed['name']}")


def translate_alternative_texts(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """A line `:alt:` below `{cell}` is what the picture is in the language of the page.

    Raises:
        ValueError: the picture's own alternative text is not on the page.
    """
    page = DOCS / f"{pagename}.md"
    for borrowed in BORROWED.finditer(page.read_text() if page.exists() else ""):
        if borrowed["alt"]:
            own = ALT.search(cell_of(pagename, borrowed))
            said = f'alt="{own[2]}"' if own else ""
            if not said or said not in context["body"]:
                raise ValueError(f"{pagename}: no picture has the alternative text {said}")
            context["body"] = context["body"].replace(said, f'alt="{borrowed["alt"]}"')


def escape_formulas(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are plain text with formulas: |x| is no substitution and a ** b is not bold.

    `Returns:` names what comes back, as in "x_t: like `x_0`"; napoleon would take it for a type.
    """
    returns = False
    for i, line in enumerate(lines):
        if line.lstrip().startswith((">>>", "...")):
            continue
        lines[i] = line.replace("|", "\\|").replace("*", "\\*")
        if returns:
            lines[i] = NAMED.sub(r"\1``\2``, ", lines[i])
        returns = line.strip() == "Returns:"


def say_options(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Below a config's docstring, what each of its options says of itself."""
    if what == "class" and is_dataclass(thing):
        from workbench.fields import options_of

        lines += ["", *(f":ivar {n}: {said['help']}" for n, said in options_of(thing).items())]


def make_code_focusable(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Let the keyboard scroll wide code and tables, and give the menu's captions their level."""
    for part in ("body", "furo_navigation_tree"):
        if context.get(part):
            context[part] = context[part].replace('role="heading"', 'role="heading" aria-level="2"')
    body = context.get("body")
    if body and pagename.startswith("fr/"):
        body = f'<div lang="fr">{body}</div>'
    if body:
        context["body"] = break_names_at_underscores(
            hang_wrapped_lines(
                body.replace(
                    '<div class="highlight"><pre>',
                    '<div class="highlight"><pre tabindex="0" role="region" aria-label="code">',
                ).replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')
            )
        )


def hang_wrapped_lines(body: str) -> str:
    """Each line of code or output its own block: what does not fit goes on below, further in."""

    def block(match: re.Match[str]) -> str:
        lines = []
        for line in match[2].rstrip("\n").split("\n"):
            text = TAG.sub("", line)
            indent = len(text) - len(text.lstrip()) + 2
            lines.append(f'<span class="code-line" style="--hang:{indent}ch">{line}\n</span>')
        return match[1] + "".join(lines) + match[3]

    return LINES.sub(block, body)


def break_names_at_underscores(body: str) -> str:
    """Where a column is narrow, `num_train_timesteps` breaks between its words and nowhere else."""

    def cell(match: re.Match[str]) -> str:
        return CODE_WORD.sub(
            lambda word: re.sub(r"([_/.]|\((?!\)))", r"\1<wbr>", word[0]), match[0]
        )

    return TABLE_CELL.sub(cell, body)


def fill_alternative_texts(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Numbers in what is said of a picture come from the page's cells: `{gap:.0e}` is glued there.

    Raises:
        KeyError: a picture names what no cell of its page has glued.
    """
    if context.get("body") and FIGURE_ALT.search(context["body"]):
        from myst_nb.ext.glue.crossref import read_glue_cache

        glued = read_glue_cache(app.env.mystnb_config.output_folder, pagename)
        values = {n: ast.literal_eval(out["data"]["text/plain"]) for n, out in glued.items()}
        context["body"] = with_numbers(context["body"], values)


def with_numbers(body: str, values: dict[str, Any]) -> str:
    """Every alternative text with its numbers.

    >>> with_numbers('<img alt="up to {most:.1f}">', {"most": 0.25})
    '<img alt="up to 0.2">'
    """

    def said(match: re.Match[str]) -> str:
        return PLACE.sub(lambda m: format(values[m["name"]], m["form"] or ""), match[0])

    return FIGURE_ALT.sub(said, body)


def make_cache(app: Any) -> None:
    """The cache of executed pages: pages that are read at the same time would each make it."""
    from jupyter_cache import get_cache

    get_cache(app.config.nb_execution_cache_path).db  # noqa: B018 (made as it is asked for)


def copy_notebooks(app: Any, exception: Exception | None) -> None:
    """Offer the executed notebooks for download, beside the pages that they were made from.

    Their outputs are taken from the cache of executed pages: MyST-NB leaves them out of the files
    of those that it did not run again.
    """
    if exception or app.builder.name != "html":
        return
    import nbformat
    from jupyter_cache import get_cache

    cache = get_cache(app.env.mystnb_config.execution_cache_path)
    executed = Path(app.outdir).parent / "jupyter_execute" / "notebooks"
    for path in sorted(executed.glob("*.ipynb")):
        _, notebook = cache.merge_match_into_notebook(nbformat.read(path, as_version=4))
        nbformat.write(to_take_away(notebook), Path(app.outdir) / "notebooks" / path.name)


def to_take_away(notebook: Any) -> Any:
    """A notebook that runs without the book: no cells for the build, numbers in place of roles,
    runs of the reader's own."""
    glued = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                glued[name] = ast.literal_eval(output["data"][GLUED_AS])
    kept = [c for c in notebook["cells"] if "remove-cell" not in c["metadata"].get("tags", [])]
    for cell in kept:
        if cell["cell_type"] == "code":
            cell["source"] = cell["source"].replace("../_gen/runs/", "runs/")
        if cell["cell_type"] == "markdown":
            said = GLUED.sub(lambda m: format(glued[m["name"]], m["form"] or ""), cell["source"])
            cell["source"] = PAGE_LINK.sub(r"\g<text>", said)
    notebook["cells"] = kept
    return notebook
