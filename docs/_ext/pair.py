"""The `pair` directive: an equation, our lines for it, the library's lines, and who checks it.

    ```{pair} reverse-step/mean
    ```

Our lines are cut from `scratch/` between `# region: NAME` and `# endregion: NAME`, or are the
function NAME where a file has no such markers. The library's are cut from the installed Diffusers,
by its own comments, out of a copy in `docs/_gen`. A marker, function or comment that is no longer
there is a warning, and warnings fail the build. What belongs together stands in `pairs.py`.
"""

import ast
import hashlib
import shutil
import textwrap
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent
ROOT = DOCS.parent
GENERATED = DOCS / "_gen"
COPIED = (
    "schedulers/scheduling_ddpm.py",
    "schedulers/scheduling_ddim.py",
    "pipelines/ddpm/pipeline_ddpm.py",
    "models/embeddings.py",
    "models/resnet.py",
    "models/attention_processor.py",
    "models/downsampling.py",
    "models/upsampling.py",
    "models/unets/unet_2d.py",
    "models/unets/unet_2d_blocks.py",
)


class CutError(ValueError):
    """What a page wanted to show is not in the source any more."""


@dataclass(frozen=True)
class Cut:
    """Lines of a file: `text` dedented, `first` and `last` counted from 1."""

    path: str
    text: str
    first: int
    last: int


def digest(*packages: str) -> str:
    """Names the state of our packages' sources; what was made by other sources is made again."""
    files = [file for name in packages for file in sorted((ROOT / name).rglob("*.py"))]
    sources = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(sources + version("diffusers").encode()).hexdigest()[:16]


def copy_library() -> None:
    """Copy the installed Diffusers' files that pages quote into `docs/_gen/diffusers`."""
    spec = find_spec("diffusers")
    assert spec is not None
    package = Path(str(spec.origin)).parent
    for name in COPIED:
        target = GENERATED / "diffusers" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / name, target)


def cut_ours(path: str, name: str, docstring: bool = False) -> Cut:
    """The region or function `name` of one of our files.

    Args:
        path: from the project's root, such as `scratch/reverse.py`.
        name: of a region, or of a function or class if there is no region of that name; `step/4` is
            what stands below the comment `# 4.` of the region `step`.
        docstring: keep the docstrings; the pages leave them to the reference.

    Raises:
        CutError: there is no such region and no such function, or the region does not end.
    """
    lines = (ROOT / path).read_text().splitlines()
    name, _, number = name.partition("/")
    starts = [i for i, line in enumerate(lines) if line.strip() == f"# region: {name}"]
    ends = [i for i, line in enumerate(lines) if line.strip() == f"# endregion: {name}"]
    if starts or ends:
        if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
            raise CutError(f"{path}: region {name} must start once and then end once")
        first, last = starts[0] + 1, ends[0]
        if number:
            first, last = _numbered(path, lines, first, last, int(number))
    else:
        first, last = _span_of_definition(path, lines, name)
    while first < last and not lines[first].strip():
        first += 1
    while last > first and not lines[last - 1].strip():
        last -= 1
    text = textwrap.dedent("\n".join(lines[first:last]))
    return Cut(path, text if docstring else _without_docstrings(text), first + 1, last)


def cut_library(path: str, start: str, end: str, inside: str = "") -> Cut:
    """Lines of an installed Diffusers file from the one with `start` to before the one with `end`.

    Args:
        path: from Diffusers' root, one of `COPIED`.
        start: text of the first line.
        end: text of the line after the last.
        inside: text of a line before `start`, such as `def add_noise`.

    Raises:
        CutError: one of the three is not there.
    """
    lines = (GENERATED / "diffusers" / path).read_text().splitlines()
    begin = _find(lines, inside, 0, path) if inside else 0
    first = _find(lines, start, begin, path)
    last = _find(lines, end, first + 1, path)
    while last > first and not lines[last - 1].strip():
        last -= 1
    text = textwrap.dedent("\n".join(lines[first:last]))
    return Cut(path, text, first + 1, last)


def permalink(cut: Cut) -> str:
    """Where the library's lines stand on the web, for the installed version."""
    tag = version("diffusers")
    where = f"https://github.com/huggingface/diffusers/blob/v{tag}/src/diffusers/{cut.path}"
    return f"{where}#L{cut.first}-L{cut.last}"


def _numbered(path: str, lines: list[str], first: int, last: int, number: int) -> tuple[int, int]:
    starts = [i for i in range(first, last) if lines[i].strip().startswith(f"# {number}. ")]
    if len(starts) != 1:
        raise CutError(f"{path}:{first} has no comment that starts with '# {number}. '")
    ends = [i for i in range(starts[0], last) if lines[i].strip().startswith(f"# {number + 1}. ")]
    return starts[0], ends[0] if ends else last


def _find(lines: list[str], text: str, begin: int, path: str) -> int:
    for i in range(begin, len(lines)):
        if text in lines[i]:
            return i
    raise CutError(f"Diffusers' {path} has no line with {text!r} after line {begin}")


def _span_of_definition(path: str, lines: list[str], name: str) -> tuple[int, int]:
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node.lineno - 1, node.end_lineno or node.lineno
    raise CutError(f"{path} has neither a region nor a function named {name}")


def _without_docstrings(text: str) -> str:
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a region may be a part of a function, with a bare return
        return text
    lines: list[str | None] = list(text.splitlines())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            doc = node.body[0]
            assert doc.end_lineno is not None
            if len(node.body) > 1:
                lines[doc.lineno - 1 : doc.end_lineno] = [None] * (doc.end_lineno - doc.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def setup(app):  # type: ignore[no-untyped-def]
    """Register the directives; imported by Sphinx only, so that the cuts need no Sphinx."""
    from pair_directives import LibraryDirective, OursDirective, PairDirective

    app.connect("builder-inited", lambda app: copy_library())
    app.add_directive("pair", PairDirective)
    app.add_directive("ours", OursDirective)
    app.add_directive("library", LibraryDirective)
    return {"parallel_read_safe": True}
