"""The directives that `pair.py` registers; the cutting itself is there and needs no Sphinx."""

import json
from collections.abc import Callable
from functools import cache, wraps
from importlib.metadata import version
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from pair import GENERATED, ROOT, Cut, CutError, cut_library, cut_ours, permalink
from pairs import PAIRS, Pair
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective

REPOSITORY_LABEL = "source"


class BookDirective(SphinxDirective):
    """What the three directives share: code blocks with a caption."""

    def code(self, cut: Cut, caption: list[nodes.Node], *classes: str) -> nodes.container:
        """A captioned block of code. The caption is not part of the code, so that copies are."""
        side = nodes.container(classes=["pair-side", *classes])
        side += nodes.paragraph("", "", *caption, classes=["pair-caption"])
        block = nodes.literal_block(cut.text, cut.text, language="python")
        side += block
        return side

    def ours(self, path: str, name: str, docstring: bool = False) -> nodes.container:
        self.env.note_dependency(str(ROOT / path))
        cut = cut_ours(path, name, docstring)
        caption = [nodes.strong("", "scratch" if path.startswith("scratch/") else "ours")]
        caption += [nodes.Text("  "), nodes.literal("", f"{path}:{cut.first}")]
        return self.code(cut, caption, "pair-scratch")

    def library(self, path: str, start: str, end: str, inside: str) -> nodes.container:
        cut = cut_library(path, start, end, inside)
        where = nodes.reference(
            "", f"{path.rsplit('/', 1)[-1]}:{cut.first}", refuri=permalink(cut), internal=False
        )
        caption = [nodes.strong("", f"Diffusers {version('diffusers')}"), nodes.Text("  "), where]
        return self.code(cut, caption, "pair-library")


def failing(build: Callable[[Any], list[nodes.Node]]) -> Callable[[Any], list[nodes.Node]]:
    """What cannot be cut fails the build, with the directive's place in its page."""

    @wraps(build)
    def run(directive: Any) -> list[nodes.Node]:
        try:
            return build(directive)
        except CutError as error:
            raise directive.error(str(error)) from error

    return run


class PairDirective(BookDirective):
    """`{pair} reverse-step/mean`: equation, scratch, library, "checked by"."""

    required_arguments = 1

    @failing
    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in PAIRS:
            raise CutError(f"pair {name!r} is not one of {', '.join(PAIRS)}")
        pair = PAIRS[name]
        anchor = "pair-" + name.replace("/", "-")
        outer = nodes.container(classes=["pair"], ids=[anchor], names=[anchor])
        self.state.document.note_explicit_target(outer)
        outer += self.equation(pair)
        grid = nodes.container(classes=["pair-grid"])
        grid += [self.ours(*ours) for ours in pair.scratch]
        if pair.library:
            grid += self.library(*pair.library)
        outer += grid
        outer += self.checked_by(pair)
        return [outer]

    def equation(self, pair: Pair) -> nodes.container:
        box = nodes.container(classes=["pair-equation"])
        box += nodes.math_block("", pair.equation, nowrap=False, number=None)
        box += nodes.paragraph("", pair.source, classes=["pair-source"])
        return box

    def checked_by(self, pair: Pair) -> nodes.paragraph:
        line = nodes.paragraph(classes=["pair-checked"])
        line += nodes.strong("", "Checked by ")
        line += nodes.literal("", f"ddpm compare --only {pair.stage}")
        found = matching_checks(pair)
        if found:
            line += nodes.Text(f": {summary(found)} ")
            line += report_link(pair.stage)
        else:
            raise CutError(f"no check of stage {pair.stage} is called {pair.checks or 'anything'}")
        return line


class OursDirective(BookDirective):
    """`{ours} scratch/pipeline.py sample`: one region or function of ours, alone."""

    required_arguments = 2
    option_spec: ClassVar = {"docstring": directives.flag}

    @failing
    def run(self) -> list[nodes.Node]:
        path, name = self.arguments
        return [self.ours(path, name, "docstring" in self.options)]


class LibraryDirective(BookDirective):
    """`{library} FILE` with `:start:`, `:end:`, perhaps `:inside:`: the library's lines alone."""

    required_arguments = 1
    option_spec: ClassVar = {
        "start": directives.unchanged_required,
        "end": directives.unchanged_required,
        "inside": directives.unchanged,
    }

    @failing
    def run(self) -> list[nodes.Node]:
        o = self.options
        return [self.library(self.arguments[0], o["start"], o["end"], o.get("inside", ""))]


@cache
def report() -> dict[str, Any]:
    """What `compare.run()` said when this build began."""
    return json.loads((GENERATED / "report.json").read_text())


def matching_checks(pair: Pair) -> list[dict[str, Any]]:
    """The checks of the pair's stage whose id holds one of the pair's words, or all of them."""
    stage = [c for c in report()["checks"] if c["stage"] == pair.stage]
    if not pair.checks:
        return stage
    return [c for c in stage if any(word in c["id"] for word in pair.checks)]


def summary(checks: list[dict[str, Any]]) -> str:
    """How many checks, how many hold, and how close the worst one comes to what is allowed."""
    passed = sum(c["passed"] for c in checks)
    text = f"{passed} of {len(checks)} checks hold"
    shares = [
        c["measured"] / c["allowed"]
        for c in checks
        if c["passed"] and c["measured"] is not None and c["allowed"]
    ]
    if shares:
        text += f"; the largest deviation is {max(shares):.0%} of what rounding allows"
    return text + "."


def report_link(stage: str) -> nodes.Node:
    """A reference to this stage on the report page."""
    target = addnodes.pending_xref(
        "",
        refdomain="std",
        reftype="ref",
        reftarget=f"stage-{stage}",
        refexplicit=True,
        refwarn=True,
    )
    target += nodes.inline("", "Every check")
    return target
