"""Mistakes in the tables of the posterior.

Right: posterior_variance is (1-ab_prev)/(1-ab) beta, posterior_log_variance_clipped its logarithm,
clipped at t = 0; posterior_mean_coef1, of x_0, is sqrt(ab_prev) beta / (1-ab), and
posterior_mean_coef2, of x_t, sqrt(alpha) (1-ab_prev) / (1-ab) (Ho et al. eq. 7).
"""

from torch import Tensor

from compare.mistakes.tables import wrong
from compare.oracle import TABLES, Steps

VARIANCE = "(1-ab_prev) / (1-ab) beta"
OF_X_0, OF_X_T = "sqrt(ab_prev) beta / (1-ab)", "sqrt(alpha) (1-ab_prev) / (1-ab)"


@wrong(
    "58-table",
    "posterior_variance",
    fix=VARIANCE,
    effect="with all steps 1 % more contrast; noise of size sqrt(beta_0) at t = 0, if it is not "
    "masked there",
)
def variance_table_of_beta(at: Steps) -> Tensor:
    """posterior_variance is beta, should have the factor (1-ab_prev)/(1-ab) (Ho et al. eq. 7)"""
    return at.beta


@wrong(
    "59-table",
    "posterior_variance",
    fix=VARIANCE,
    effect="infinite at t = 0; elsewhere the pictures look right, with a little more noise",
)
def variance_table_upside_down(at: Steps) -> Tensor:
    """the ratio in posterior_variance is upside down, should be (1-ab_prev)/(1-ab) (Ho et al. eq.
    7)"""
    return (1 - at.alpha_bar) / (1 - at.alpha_bar_prev) * at.beta


@wrong(
    "59-table-root",
    "posterior_variance",
    fix=VARIANCE,
    effect="noise of ten times the size",
)
def variance_table_of_root_beta(at: Steps) -> Tensor:
    """posterior_variance has sqrt(beta), should have beta (Ho et al. eq. 7)"""
    return (1 - at.alpha_bar_prev) / (1 - at.alpha_bar) * at.beta.sqrt()


@wrong(
    "59-table-ratio",
    "posterior_variance",
    fix=VARIANCE,
    effect="samples are noise: each step adds noise of size 1",
)
def variance_table_without_beta(at: Steps) -> Tensor:
    """posterior_variance is (1-ab_prev)/(1-ab) alone, should be times beta (Ho et al. eq. 7)"""
    return (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)


@wrong(
    "53-table",
    "posterior_variance",
    fix=VARIANCE,
    effect="noisy pictures, where the root is taken of it once more",
)
def variance_table_is_its_root(at: Steps) -> Tensor:
    """posterior_variance holds the standard deviation, should hold its square (Ho et al. eq. 7)"""
    return TABLES["posterior_variance"](at).clamp(min=0).sqrt()


@wrong(
    "51-table",
    "posterior_log_variance_clipped",
    fix="log(max(beta_tilde, 1e-20)), or the entry of t = 1 in the place of the first",
    effect="the table begins with -inf: NaN as soon as it is weighed with 0, as in a learned "
    "variance or a likelihood",
)
def log_variance_not_clipped(at: Steps) -> Tensor:
    """posterior_log_variance_clipped is not clipped: at t = 0 beta-tilde is 0, and its logarithm
    infinite (Ho et al. eq. 7)"""
    return at.variance.log()


@wrong(
    "50-table",
    "posterior_log_variance_clipped",
    fix="log(beta_tilde), of the variance and not of its root",
    effect="noise of the size of the root: far too noisy pictures",
)
def log_of_the_deviation(at: Steps) -> Tensor:
    """posterior_log_variance_clipped is the logarithm of the standard deviation, should be that of
    the variance, twice as much (Ho et al. eq. 7)"""
    return 0.5 * TABLES["posterior_log_variance_clipped"](at)


@wrong(
    "58-table-log",
    "posterior_log_variance_clipped",
    fix="log(beta_tilde), clipped at t = 0",
    effect="with all steps 1 % more contrast; with a learned variance both ends are the same",
)
def log_variance_of_beta(at: Steps) -> Tensor:
    """posterior_log_variance_clipped is the logarithm of beta, should be that of beta-tilde (Ho et
    al. eq. 7)"""
    return at.beta.log()


@wrong(
    "37-table",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    fix=f"coef1, of x_0, is {OF_X_0}, coef2, of x_t, {OF_X_T}",
    effect="too smooth: the chain ends with a fifth of the contrast",
)
def coefficients_exchanged(at: Steps) -> tuple[Tensor, Tensor]:
    """posterior_mean_coef1 and posterior_mean_coef2 are exchanged: coef1 is the weight of x_0,
    coef2 that of x_t (Ho et al. eq. 7)"""
    return TABLES["posterior_mean_coef2"](at), TABLES["posterior_mean_coef1"](at)


@wrong(
    "38-table",
    "posterior_mean_coef1",
    fix=OF_X_0,
    effect="darker pictures of less contrast",
)
def coef1_without_root(at: Steps) -> Tensor:
    """posterior_mean_coef1 has ab_prev, should have sqrt(ab_prev) (Ho et al. eq. 7)"""
    return at.alpha_bar_prev * at.beta / (1 - at.alpha_bar)


@wrong(
    "40-table",
    "posterior_mean_coef1",
    fix=OF_X_0,
    effect="with all steps the pictures look right; with 50 they are a little darker",
)
def coef1_of_this_step(at: Steps) -> Tensor:
    """posterior_mean_coef1 has sqrt(ab), should have sqrt(ab_prev) (Ho et al. eq. 7)"""
    return at.alpha_bar.sqrt() * at.beta / (1 - at.alpha_bar)


@wrong(
    "37-table-beta",
    "posterior_mean_coef1",
    fix=OF_X_0,
    effect="samples explode: x0-hat is added ten to a hundred times too strongly",
)
def coef1_of_root_beta(at: Steps) -> Tensor:
    """posterior_mean_coef1 has sqrt(beta), should have beta (Ho et al. eq. 7)"""
    return (at.alpha_bar_prev * at.beta).sqrt() / (1 - at.alpha_bar)


@wrong(
    "39-table",
    "posterior_mean_coef2",
    fix=OF_X_T,
    effect="darker pictures of less contrast",
)
def coef2_without_root(at: Steps) -> Tensor:
    """posterior_mean_coef2 has alpha, should have sqrt(alpha) (Ho et al. eq. 7)"""
    return at.alpha * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)


@wrong(
    "41-table",
    "posterior_mean_coef2",
    fix=OF_X_T,
    effect="samples explode: x_t hardly shrinks, and x0-hat is added to it at every step",
)
def coef2_of_this_step(at: Steps) -> Tensor:
    """posterior_mean_coef2 has 1-ab, should have 1-ab_prev (Ho et al. eq. 7): it is sqrt(alpha)"""
    return at.alpha.sqrt()


@wrong(
    "39-table-bar",
    "posterior_mean_coef2",
    fix=OF_X_T,
    effect="dark, flat pictures: x_t is forgotten wherever there is much noise",
)
def coef2_of_alpha_bar(at: Steps) -> Tensor:
    """posterior_mean_coef2 has sqrt(ab), should have sqrt(alpha) (Ho et al. eq. 7)"""
    return at.alpha_bar.sqrt() * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)


@wrong(
    "41-table-root",
    "posterior_mean_coef2",
    fix=OF_X_T,
    effect="dark, flat pictures: x_t is forgotten wherever there is much noise",
)
def coef2_of_alpha_bar_prev(at: Steps) -> Tensor:
    """posterior_mean_coef2 has sqrt(ab_prev), should have sqrt(alpha) (Ho et al. eq. 7)"""
    return at.alpha_bar_prev.sqrt() * (1 - at.alpha_bar_prev) / (1 - at.alpha_bar)
