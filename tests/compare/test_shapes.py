"""`ddpm adapt` on every shape of public code: what is left to write, and the verdict after that."""

import ast
from collections import Counter
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from compare.candidate.text.adapt import adapter
from compare.verdict.judge import judge
from tests.often import each

SHAPES = Path(__file__).parent / "shapes"


QUICK = (("T = 1000", "T = 100"), ("1e-4", "1e-3"), ("0.02", "0.2"))  # a tenth of the steps


class Shape(NamedTuple):
    """A program, what is wrong in it, and what a user writes for what `ddpm adapt` printed."""

    spec: str
    bugs: tuple[str | None, ...] = ()
    edits: tuple[tuple[str, str], ...] = ()


CASES = [
    Shape("modules.py:TplusOne", ("1",)),
    Shape("modules.py:Guided"),
    Shape("modules.py:DenoiseDiffusion", ("56",)),
    Shape("modules.py:GaussianDiffusion"),
    Shape("modules.py:Sampler", (None,)),
    Shape("classes.py:Diffusion", ("79",)),
    Shape(
        "classes.py:Decoder",
        ("43",),
        (
            ("import Decoder", "import Decoder, Schedule"),
            ("made = Decoder(", "made = lambda model: Decoder("),
            ("noise_schedule=..., g=...", "Schedule(), model"),
            ("len(made.schedule", "len(made(None).schedule"),
            ("lambda: made.schedule", "lambda: made(None).schedule"),
            ("made.DDPM_sampling(", "made(model).DDPM_sampling("),
        ),
    ),
    Shape(
        "classes.py:Tables",
        (),
        (
            (
                "BETAS = torch.linspace(1e-4, 0.02, T)\nALPHAS = 1 - BETAS\n"
                "ALPHA_BAR = (1 - BETAS).cumprod(0)",
                "ALPHAS, BETAS, ALPHA_BAR = Tables().get_ddpm_noise_schedule(T, 1e-4, 0.02)",
            ),
        ),
    ),
    Shape("classes.py:LinearNoiseScheduler"),
    Shape("classes.py:NoiseScheduler"),
    Shape("classes.py:DDIMScheduler"),
    Shape("classes.py:LearnedRange", (), (("loss_type=...", "loss_type=None"),)),
    Shape("at_the_top.py"),
    Shape("handed_tables.py"),
    Shape("loop_alone.py", ("79",)),
    Shape("parts.py:UNet"),
    Shape("betas.py", ("10-square",)),
    Shape("tables_returned.py"),
]


def printed(shape: Shape) -> str:
    file, _, name = shape.spec.partition(":")
    return adapter(SHAPES / file, name, (SHAPES / file).read_text())


def edited(shape: Shape) -> str:
    text = printed(shape)
    for old, new in shape.edits:
        assert old in text, old
        text = text.replace(old, new)
    return text


def units(text: str) -> Counter[str]:
    """Every statement without a body, every head of a function, every role, as `ast` sees them."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            found.append(f"{node.name}({ast.unparse(node.args)})")
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Adapter":
            found += [ast.dump(keyword) for keyword in node.keywords]
        elif isinstance(node, ast.stmt) and "Adapter(" not in ast.unparse(node):
            found.append(ast.dump(node))
    return Counter(found)


def written(shape: Shape) -> int:
    """How many statements of an adapter a user writes, edits or takes out."""
    before, after = units(printed(shape)), units(edited(shape))
    return max((after - before).total(), (before - after).total())


@pytest.mark.parametrize(
    "shape", each(3, [(shape,) for shape in CASES]), ids=lambda shape: shape.spec
)
def test_a_shape_has_its_verdict_through_its_adapter(shape: Shape, tmp_path: Path) -> None:
    text = edited(shape)
    for whole, tenth in QUICK:
        text = text.replace(whole, tenth)
    assert "..." not in text.partition('"""')[2]
    beside = tmp_path / f"adapt_{shape.spec.partition('.')[0]}.py"
    beside.write_text(f"import sys\nsys.path.insert(0, {str(SHAPES)!r})\n{text}")
    report = judge(f"{beside}:adapted", "quick", 0, beside=False)
    assert report.exit_status == bool(shape.bugs), str(report)
    assert [d.bug for d in report.diagnoses] == [*shape.bugs], str(report)


def test_at_most_three_statements_are_left_to_write() -> None:
    counts = {shape.spec: written(shape) for shape in CASES}
    assert median(counts.values()) <= 3, counts
    assert counts["classes.py:LearnedRange"] == 1
    assert counts["classes.py:Tables"] == 3
    assert counts["classes.py:Decoder"] > 3  # it is built with an object of another class
