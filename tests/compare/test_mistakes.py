"""The catalogue: each entry says something else, and its formula is wrong where it says so."""

import ast
import re
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from compare import backends, stages
from compare.mistakes import ALL, BY_ID, MISTAKES, find
from compare.oracle import F64, Oracle, Setting

RIGHT = Oracle()
SETTING = Setting(num_train_timesteps=20, beta_end=0.2)
TABLE = RIGHT.alpha_bar(SETTING)
X, Y = torch.randn(2, 1, 4, dtype=F64, generator=torch.Generator().manual_seed(0))


def level(t: int, prev: int, oracle: Oracle = RIGHT):
    at, before = torch.tensor([[t]]), torch.tensor([[prev]])
    return oracle.level(TABLE, at, before, SETTING)


def test_every_entry_has_words_and_a_fix_of_its_own() -> None:
    assert len({m.words for m in ALL}) == len(ALL)
    known = {stage.name for stage in (*stages.ALL, *backends.ALL)}
    for mistake in ALL:
        assert mistake.stage in known
        assert mistake.fix
        assert not mistake.words.endswith("."), mistake.id  # more is said after them
    for mistake in MISTAKES:
        assert mistake.oracle() != RIGHT


def test_every_entry_has_a_number_a_name_and_an_effect() -> None:
    assert len(BY_ID) == len(ALL)
    assert len({m.name for m in ALL} - set(BY_ID)) == len(ALL)
    for mistake in ALL:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", mistake.name), mistake.name
        assert len(mistake.name) <= 45
        assert mistake.effect
        assert not mistake.effect.endswith("."), mistake.id
        assert find(mistake.id) is find(mistake.name) is mistake


def test_every_entry_shows_what_is_wrong_and_what_is_right() -> None:
    for mistake in ALL:
        assert mistake.source.startswith("def "), mistake.id
        assert '"""' not in mistake.source, mistake.id
        assert mistake.right_formula, mistake.id
        assert mistake.right_source != mistake.source, mistake.id
        ast.parse(mistake.source)
        ast.parse(mistake.right_source)
    assert "sqrt(alpha_bar_t) x_0" in BY_ID["5"].right_formula
    assert "def clipped_below" in BY_ID["56-clipped"].source  # where two formulas are wrong, both


def test_where_a_mistake_was_seen_is_a_repository() -> None:
    places = {place for mistake in ALL for place in mistake.seen_in}
    assert places
    for place in places:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+(#\d+|@[0-9a-f]{7}| \S+)?", place), place


def test_a_word_that_is_no_mistake() -> None:
    with pytest.raises(
        LookupError, match="no mistake 'signal-without-rot'; close to it are signal"
    ):
        find("signal-without-rot")
    with pytest.raises(LookupError, match="no mistake 'zzz'; `ddpm explain` lists all"):
        find("zzz")


def test_the_catalogue_needs_neither_backend_nor_the_workbench() -> None:
    script = (
        "import sys, compare.mistakes;"
        "print([n for n in ('scratch', 'workbench', 'diffusers') if n in sys.modules])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_an_entry_is_laid_over_others() -> None:
    both = BY_ID["49"].oracle(BY_ID["39"].oracle())
    assert both.std is BY_ID["49"].seams["std"]
    assert both.mean is BY_ID["39"].seams["mean"]
    assert both.add_noise is RIGHT.add_noise


@pytest.mark.parametrize("bug", ["70", "71", "71-tilde", "71-mean", "71-alpha", "72"])
def test_the_mistakes_of_strides_are_right_in_the_full_chain(bug) -> None:
    wrong = BY_ID[bug].oracle()

    def step(oracle: Oracle, t: int, following: int, n: int) -> torch.Tensor:
        prev = int(oracle.previous(torch.tensor(following), torch.tensor(t), n, SETTING))
        at = level(t, prev)
        return oracle.mean(X, Y, at) + 10 * oracle.std("fixed_small", at)

    for t in (0, 1, 7, 19):
        assert_close(step(wrong, t, t - 1, 20), step(RIGHT, t, t - 1, 20), rtol=1e-12, atol=1e-12)
    # 12 is off the stride of T / n = 5 from 15, and not the number before it
    assert (step(wrong, 15, 12, 4) - step(RIGHT, 15, 12, 4)).abs().max() > 1e-3


@pytest.mark.parametrize(("bug", "shift"), [("2-early", -1), ("2-late", 1)])
def test_tables_read_beside_their_place(bug, shift) -> None:
    found = level(7, 6, BY_ID[bug].oracle())
    assert float(found.alpha_bar) == float(TABLE[7 + shift])
    assert float(found.alpha_bar_prev) == float(TABLE[6 + shift])
    assert int(found.prev) == 6  # whether there is noise goes by the list as ever


def test_a_mean_from_a_table_that_is_not_shifted() -> None:
    ab, at = TABLE[7], level(7, 6)
    alpha = ab / TABLE[6]
    expected = ab.sqrt() * (1 - alpha) / (1 - ab) * X + alpha.sqrt() * Y
    assert_close(BY_ID["40-unshifted"].oracle().mean(X, Y, at), expected)


def test_the_noise_of_a_clipped_log_variance_at_the_last_step() -> None:
    oracle = BY_ID["56-clipped"].oracle()
    first, second = (oracle.sigma(level(t, t - 1), SETTING) for t in (0, 1))
    assert_close(first, second)
    assert float(first) > 0
    inverted = BY_ID["56-inverted"].oracle()
    assert_close(inverted.sigma(level(0, -1), SETTING), second)
    assert float(inverted.sigma(level(5, 4), SETTING)) == 0
