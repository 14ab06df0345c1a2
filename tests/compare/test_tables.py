"""Stage tables: derived tables by their names, of an adapter and as attributes of a class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from compare import Adapter
from compare.candidate.door.tables import meant
from compare.candidate.from_oracle import tables_of
from compare.candidate.text.adapt import adapter
from compare.formulas.curves import OF_TABLES
from compare.mistakes import MISTAKES, mutant
from compare.oracle import F64, TABLES, Oracle, Setting, betas
from compare.verdict.judge import judge
from compare.verdict.report import Report
from tests.often import each

SHORT = Setting(num_train_timesteps=50, beta_end=0.3)
LONG = Setting()
COSINE = Setting(beta_schedule="squaredcos_cap_v2")
LOG = "posterior_log_variance_clipped"


def guided(setting: Setting = SHORT, dtype: torch.dtype = F64) -> dict[str, Tensor]:
    """In the words of guided-diffusion and lucidrains, the log variance clipped at 1e-20."""
    beta = betas(setting).to(dtype)
    alpha, ab = 1 - beta, (1 - beta).cumprod(0)
    prev = pad(ab[:-1], (1, 0), value=1.0)
    variance = beta * (1 - prev) / (1 - ab)
    return {
        "betas": beta,
        "alphas": alpha,
        "alphas_cumprod": ab,
        "alphas_cumprod_prev": prev,
        "alphas_cumprod_next": pad(ab[1:], (0, 1), value=0.0),
        "sqrt_alphas_cumprod": ab**0.5,
        "sqrt_one_minus_alphas_cumprod": (1 - ab) ** 0.5,
        "log_one_minus_alphas_cumprod": (1 - ab).log(),
        "sqrt_recip_alphas": (1 / alpha) ** 0.5,
        "sqrt_recip_alphas_cumprod": (1 / ab) ** 0.5,
        "sqrt_recipm1_alphas_cumprod": (1 / ab - 1) ** 0.5,
        "posterior_variance": variance,
        LOG: variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": beta * prev**0.5 / (1 - ab),
        "posterior_mean_coef2": (1 - prev) * alpha**0.5 / (1 - ab),
    }


def by_logs(setting: Setting = SHORT, dtype: torch.dtype = F64) -> dict[str, Tensor]:
    """T + 1 entries behind a level of no step, as of minDiffusion and the course."""
    b_t = torch.cat([torch.zeros(1), betas(setting)]).to(dtype)
    a_t = 1 - b_t
    ab_t = a_t.log().cumsum(0).exp()
    return {
        "b_t": b_t,
        "alpha_t": a_t,
        "alphabar_t": ab_t,
        "ab_prev": torch.cat([torch.ones(1), ab_t[:-1]]),
        "oneover_sqrta": 1 / a_t.sqrt(),
        "sqrt_beta_t": b_t.sqrt(),
        "sqrtab": ab_t.sqrt(),
        "sqrtmab": (1 - ab_t).sqrt(),
        "mab_over_sqrtmab": (1 - a_t) / (1 - ab_t).sqrt(),
    }


def in_numpy(setting: Setting = SHORT, dtype: torch.dtype = F64) -> dict[str, np.ndarray]:
    """Without betas and alpha-bar before; the entry of t = 1 for that of t = 0, as by Ho et al."""
    beta = betas(setting).to(dtype).numpy()
    alpha_bars = np.cumprod(1 - beta)
    before = np.append(1.0, alpha_bars[:-1]).astype(beta.dtype)
    tilde = (1 - before) / (1 - alpha_bars) * beta
    tilde[0] = tilde[1]
    return {
        "alpha_bars": alpha_bars,
        "sqrt_alpha_bars": np.sqrt(alpha_bars),
        "one_minus_alphas_bar_sqrt": np.sqrt(1 - alpha_bars),
        "beta_tilde": tilde,
        "posterior_log_var": np.log(np.append(tilde[1], tilde[1:])),
        "posterior_mean_c1": np.sqrt(before) * beta / (1 - alpha_bars),
    }


STYLES: dict[str, Callable] = {"guided": guided, "by logs": by_logs, "numpy": in_numpy}


def judged(tables: object, **roles: object) -> Report:
    role = tables if callable(tables) else lambda: tables
    return judge(Adapter(tables=role, **roles), "quick", 0, beside=False)


def named(report: Report) -> list[tuple[str | None, str]]:
    return [(d.bug, d.stage) for d in report.diagnoses]


def wrong(**changed: Tensor) -> Report:
    return judged(guided() | changed)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=["float32", "float64"])
@pytest.mark.parametrize("setting", [SHORT, LONG, COSINE], ids=["short", "long", "cosine"])
@pytest.mark.parametrize("style", STYLES)
def test_right_tables_in_other_words_are_right(
    style: str, setting: Setting, dtype: torch.dtype
) -> None:
    report = judged(STYLES[style](setting, dtype))
    assert report.passed, str(report)
    assert {"schedule", "tables"} == set(report.judged)
    looked_at = [c for c in report.checks if c.stage == "tables" and c.status != "note"]
    assert len(looked_at) >= 4
    assert not report.not_judged.get("tables")


@pytest.mark.parametrize("setting", [SHORT, LONG, COSINE], ids=["short", "long", "cosine"])
def test_float64_tables_that_are_cast_are_right_by_whatever_is_shown(setting: Setting) -> None:
    tables = {name: table.float() for name, table in guided(setting).items()}
    for hidden in (("alphas_cumprod",), ("betas", "alphas"), ("alphas_cumprod_prev", "alphas")):
        left = {name: table for name, table in tables.items() if name not in hidden}
        report = judged(left)
        assert report.passed, f"{hidden}: {report}"


def test_every_table_of_the_oracle_is_known_by_its_name() -> None:
    assert [meant(name) for name in TABLES] == list(TABLES)
    judged_elsewhere = {"betas", "alphas_cumprod", "alphas_cumprod_next"}  # or without letters
    assert set(OF_TABLES) == set(TABLES) - judged_elsewhere


MINE = [m for m in MISTAKES if m.stage == "tables"]


@pytest.mark.parametrize("mistake", each(9, MINE), ids=lambda m: m.id)
@pytest.mark.parametrize("setting", [LONG, COSINE], ids=["linear", "cosine"])
def test_every_mistake_is_found_and_named_on_a_thousand_steps(mistake, setting) -> None:
    """On a hundred they are in the kill table."""
    report = judge(mutant(mistake, setting), "quick", 0, beside=False)
    assert named(report) == [(mistake.id, "tables")], str(report)


G = guided()
BETA, ALPHA, AB, PREV = (G[n] for n in ("betas", "alphas", "alphas_cumprod", "alphas_cumprod_prev"))
AB_0 = torch.cat([AB[:1], AB[:-1]])
# Written as people write them, with what follows from them where it does.
WRONG = {
    "3-table": {"alphas_cumprod_prev": AB_0},
    "3-zero": {"alphas_cumprod_prev": pad(AB[:-1], (1, 0))},
    "3-roll": {"alphas_cumprod_prev": torch.roll(AB, 1)},
    "3-next": {"alphas_cumprod_prev": pad(AB[1:], (0, 1))},
    "40-table-same": {"alphas_cumprod_prev": AB.clone()},
    "58-table": {"posterior_variance": BETA, LOG: BETA.log()},
    "59-table": {"posterior_variance": BETA * (1 - AB) / (1 - PREV)},
    "59-table-root": {"posterior_variance": BETA.sqrt() * (1 - PREV) / (1 - AB)},
    "51-table": {LOG: G["posterior_variance"].log()},
    "50-table": {LOG: G["posterior_variance"].clamp(min=1e-20).sqrt().log()},
    "37-table": {
        "posterior_mean_coef1": G["posterior_mean_coef2"],
        "posterior_mean_coef2": G["posterior_mean_coef1"],
    },
    "38-table": {"posterior_mean_coef1": BETA * PREV / (1 - AB)},
    "39-table": {"posterior_mean_coef2": (1 - PREV) * ALPHA / (1 - AB)},
    "6-table": {"sqrt_one_minus_alphas_cumprod": 1 - AB},
    "6-table-outside": {"sqrt_one_minus_alphas_cumprod": 1 - AB.sqrt()},
    "45-table": {"sqrt_recip_alphas": ALPHA.sqrt()},
}


@pytest.mark.parametrize("bug", each(2, WRONG))
def test_a_mistake_as_it_is_written_is_found_and_named(bug: str) -> None:
    report = wrong(**WRONG[bug])
    assert report.exit_status == 1
    assert named(report) == [(bug, "tables")], str(report)
    assert next(iter(WRONG[bug])) in report.verdict or bug == "59-table", report.verdict


def test_what_is_made_of_a_wrong_table_is_not_wrong_itself() -> None:
    variance = BETA * (1 - AB_0) / (1 - AB)
    made = {
        "alphas_cumprod_prev": AB_0,
        "posterior_variance": variance,
        LOG: variance.log(),
        "posterior_mean_coef1": BETA * AB_0.sqrt() / (1 - AB),
        "posterior_mean_coef2": (1 - AB_0) * ALPHA.sqrt() / (1 - AB),
    }
    report = wrong(**made)
    assert named(report) == [("3-table", "tables")], str(report)
    failing = [c.id for c in report.checks if not c.passed]
    assert failing == ["tables/alphas_cumprod_prev"]
    follows = {c.id: c.message for c in report.checks if c.status == "follows"}
    told = "posterior_variance is right for the candidate's own alphas_cumprod_prev"
    assert follows["tables/posterior_variance"] == told
    hidden = {name: table for name, table in (G | made).items() if name != "alphas_cumprod_prev"}
    assert named(judged(hidden)) == [("3-table", "tables")]


def test_a_noise_coefficient_may_be_that_of_x_t() -> None:
    weight = G["sqrt_one_minus_alphas_cumprod"]
    assert wrong(noise_coef=weight).passed
    assert wrong(noise_coef=BETA / weight).passed
    assert named(wrong(noise_coef=BETA / (1 - AB))) == [("43-table", "tables")]
    assert named(wrong(mab_over_sqrtmab=weight)) == [(None, "tables")]


def test_two_mistakes_are_both_named() -> None:
    report = wrong(**WRONG["38-table"], **WRONG["45-table"])
    assert sorted(named(report)) == [("38-table", "tables"), ("45-table", "tables")], str(report)


def test_any_other_wrong_table_is_told_in_letters() -> None:
    report = wrong(posterior_variance=BETA * AB, posterior_mean_coef2=BETA / 2)
    assert named(report) == [(None, "tables")]
    words = str(report.diagnoses[0].formula)
    assert "your posterior_variance has beta_t * ab_t, should have beta_t * (1 - ab_prev)" in words
    assert "posterior_mean_coef2 has 0.5 * beta_t, should have sqrt(alpha_t)" in words
    inverted = wrong(**WRONG["59-table"]).diagnoses[0].formula
    assert "posterior_variance has beta_t * (1 - ab_t) / (1 - ab_prev)" in str(inverted)
    log = wrong(**{LOG: G[LOG] + BETA.log()}).diagnoses[0].formula
    assert f"your exp({LOG}) has beta_t^2" in str(log)


@pytest.mark.parametrize(
    ("name", "at"),
    each(3, [("posterior_mean_coef1", 24), ("sqrt_recip_alphas", 1), ("posterior_variance", 49)]),
)
def test_one_percent_in_one_entry_is_found(name: str, at: int) -> None:
    table = G[name].clone()
    table[at] *= 1.01
    report = wrong(**{name: table.float()})
    assert [c.id for c in report.checks if not c.passed] == [f"tables/{name}"]
    assert f"at t={at}" in str(report)


@pytest.mark.parametrize(
    ("table", "said"),
    [(AB, "alpha-bar_t, which Song"), (AB.sqrt(), "sqrt(alpha-bar_t), which Salimans")],
)
def test_alpha_has_three_meanings_and_none_is_wrong(table: Tensor, said: str) -> None:
    report = wrong(alphas=table)
    assert report.passed, str(report)
    told = [c.message for c in report.checks if c.id == "tables/alphas"]
    assert len(told) == 1
    assert told[0].startswith(f"alphas is {said}")
    assert not wrong(alphas=BETA).passed


def test_what_stands_for_a_variance_of_zero_is_a_convention() -> None:
    variance = G["posterior_variance"].clone()
    variance[0] = variance[1]
    report = wrong(posterior_variance=variance)
    assert report.passed
    assert "holds at t = 0" in str(report)
    assert wrong(posterior_variance=variance.clamp(min=1e-20)).passed
    for least in (1e-20, 1e-10, float(variance[1])):
        assert wrong(**{LOG: G["posterior_variance"].clamp(min=least).log()}).passed
    variance[0] = 2 * variance[1]
    assert not wrong(posterior_variance=variance).passed
    unclipped = {n: table for n, table in G.items() if n != LOG}
    infinite = G["posterior_variance"].log()
    assert judged(unclipped | {"posterior_log_variance": infinite}).passed
    assert not judged(unclipped | {LOG: infinite}).passed


def test_names_that_nobody_knows_are_told() -> None:
    report = judged(guided() | {"loss_weight": AB, "c_7": torch.ones(3)})
    assert report.passed
    told = [c.message for c in report.checks if c.id == "tables/names"]
    assert told == ["not judged, as nobody knows these names: loss_weight, c_7"]
    alone = judged({"c_7": BETA})
    assert (alone.exit_status, alone.diagnoses) == (2, [])


def boom() -> None:
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("tables", "status", "said"),
    [
        (boom, 2, "tables() raises ValueError: boom (test_tables.py, line"),
        ([BETA], 2, "tables() returned list, should return {name: table}"),
        (G | {"posterior_variance": "x"}, 2, "posterior_variance is no table of numbers"),
        (
            G | {"posterior_variance": torch.ones(3, 4)},
            1,
            "posterior_variance has shape (3, 4), should have (50,) or (51,)",
        ),
        (G | {"posterior_mean_coef1": BETA * torch.nan}, 1, "posterior_mean_coef1 is nan at t=0"),
    ],
)
def test_what_is_no_table_is_told_in_one_line(tables, status: int, said: str) -> None:
    report = judged(tables)
    assert report.exit_status == status
    assert said in report.verdict
    assert "\n" not in report.verdict
    assert "Traceback" not in str(report)


def test_tables_of_nothing_are_not_judged() -> None:
    report = judged({"posterior_mean_coef1": G["posterior_mean_coef1"]})
    assert report.exit_status == 2
    assert "neither alphas_cumprod nor betas" in report.not_judged["tables"]


def test_an_alpha_bar_beside_decides() -> None:
    """The table of alpha-bar is one of those that are judged, then."""
    assert judged(guided(), alpha_bar=lambda: AB).passed
    other = guided() | {"alphas_cumprod": AB.sqrt()}
    report = judged(other, alpha_bar=lambda: AB)
    assert "tables/alphas_cumprod" in [c.id for c in report.checks if not c.passed]


class Buffers(nn.Module):
    """Tables as buffers, and a step that is made of them."""

    changed: dict[str, Tensor] = {}  # noqa: RUF012 (a subclass has its own)

    def __init__(self) -> None:
        super().__init__()
        for name, table in (guided() | self.changed).items():
            self.register_buffer(name, table.float())
        self.posterior_mean_coef3 = self.alpha = 0.5  # no tables

    def step(self, out, t, x, generator=None):
        x_0 = self.sqrt_recip_alphas_cumprod[t] * x - self.sqrt_recipm1_alphas_cumprod[t] * out
        mean = self.posterior_mean_coef1[t] * x_0 + self.posterior_mean_coef2[t] * x
        if not t:
            return mean
        z = torch.randn(x.shape, generator=generator)
        return mean + (0.5 * self.posterior_log_variance_clipped[t]).exp() * z


def built(**changed: Tensor) -> Report:
    class_ = type("Buffers", (Buffers,), {"changed": changed})
    return judge(class_, "quick", 0, beside=False)


def test_attributes_of_a_class_are_judged_without_an_adapter() -> None:
    right = built()
    assert right.passed, str(right)
    assert "tables" in right.judged
    unused = built(**WRONG["59-table-root"])
    assert named(unused) == [("59-table-root", "tables")], str(unused)


def test_a_step_that_uses_a_wrong_table_is_one_mistake() -> None:
    used = built(**WRONG["39-table"])
    assert named(used) == [("39", "mean")], str(used)
    assert "tables/posterior_mean_coef2" in [c.id for c in used.checks if not c.passed]


def test_a_class_without_such_tables_has_none() -> None:
    class Bare:
        def __init__(self) -> None:
            self.betas, self.alphas_cumprod = BETA, AB

    report = judge(Bare, "quick", 0, beside=False)
    assert report.passed
    assert report.not_judged["tables"] == "there are no tables"


def test_an_adapter_that_is_written_has_them(tmp_path: Path) -> None:
    source = (
        "import torch\nclass A:\n"
        "  def __init__(self, timesteps=50):\n"
        "    self.betas = torch.linspace(1e-3, 0.2, timesteps)\n"
        "    self.alphas_cumprod = (1 - self.betas).cumprod(0)\n"
        "    self.sqrt_one_minus_alphas_cumprod = 1 - self.alphas_cumprod\n"
        "  def q_sample(self, x_0, t, noise):\n"
        "    a = self.alphas_cumprod[t].reshape(-1, 1, 1, 1)\n"
        "    return a.sqrt() * x_0 + (1 - a).sqrt() * noise\n"
    )
    file = tmp_path / "mine_tables.py"
    file.write_text(source)
    (tmp_path / "adapt_tables.py").write_text(adapter(file, "A", source))
    report = judge(f"{tmp_path}/adapt_tables.py:adapted", "quick", 0, beside=False)
    assert named(report) == [("6-table", "tables")], str(report)


def test_the_oracle_s_own_tables_are_right() -> None:
    report = judged(tables_of(Oracle(), SHORT))
    assert report.passed, str(report)
    of_tables = [c for c in report.checks if c.stage == "tables" and c.id.split("/")[1] in TABLES]
    assert len(of_tables) == len(TABLES) - 2
