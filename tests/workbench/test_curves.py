"""What curves show is what was given: line data, numbers and words."""

import numpy as np
import pytest
import torch

from workbench import backends, curves, plotting


def test_loss_curves_show_each_run_raw_and_smoothed():
    runs = {"a": [4.0, 2.0, 1.0, 1.0], "b": [8.0, 4.0]}
    figure = curves.loss_curves(runs, window=2)
    (axes,) = figure.axes
    raw_a, smooth_a, raw_b, smooth_b = (line.get_ydata().tolist() for line in axes.lines)
    assert (raw_a, raw_b) == (runs["a"], runs["b"])
    assert smooth_a == [4.0, 3.0, 1.5, 1.0]
    assert smooth_b == [8.0, 6.0]
    assert [text.get_text() for text in axes.get_legend().texts] == ["a", "b"]
    assert axes.get_title("left") == "Loss (bold: mean of the last 2 steps)"
    assert axes.get_yscale() == "log"
    raw, smooth = axes.lines[:2]
    assert raw.get_alpha() < 0.5
    assert raw.get_color() == smooth.get_color()


def test_smoothing_is_a_trailing_mean():
    losses = np.random.default_rng(0).uniform(0.1, 1, 200)
    (axes,) = curves.loss_curves({"run": losses}, window=7).axes
    expected = [losses[max(0, k - 6) : k + 1].mean() for k in range(200)]
    # a difference of two sums of at most 200 numbers below 1: 200 * 2^-53 each, over 7
    np.testing.assert_allclose(axes.lines[1].get_ydata(), expected, rtol=0, atol=1e-13)


def test_short_runs_are_not_smoothed_and_one_run_has_no_legend():
    (axes,) = curves.loss_curves({"run": [2.0, 1.0]}).axes
    (line,) = axes.lines
    assert line.get_ydata().tolist() == [2.0, 1.0]
    assert axes.get_legend() is None
    assert axes.get_title("left") == "Loss"


@pytest.mark.parametrize(("low", "high"), [(0.11, 0.19), (0.04, 1.2), (3e-5, 7e-5), (0.5, 0.5)])
def test_the_loss_axis_has_labels_in_plain_numbers(low, high):
    figure = curves.loss_curves({"run": [high, low]})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    bottom, top = axes.get_ylim()
    ticks = [t for t in axes.yaxis.get_major_ticks() if bottom <= t.get_loc() <= top]
    assert len(ticks) >= 2
    for tick in ticks:
        assert float(tick.label1.get_text()) == pytest.approx(tick.get_loc())


@pytest.mark.parametrize("losses", [{}, {"run": []}, {"a": [1.0], "b": []}])
def test_loss_curves_need_losses(losses):
    with pytest.raises(ValueError, match="expected at least one for each name"):
        curves.loss_curves(losses)


def test_loss_curves_refuse_a_window_of_nothing():
    with pytest.raises(ValueError, match="window is 0; expected at least 1"):
        curves.loss_curves({"run": [1.0]}, window=0)


def test_schedule_curves_show_the_tables():
    make = backends.load("scratch").DDPMScheduler
    families = ("linear", "squaredcos_cap_v2")
    schedulers = {name: make(num_train_timesteps=60, beta_schedule=name) for name in families}
    figure = curves.schedule_curves(schedulers)
    beta, alpha_bar, snr = figure.axes
    for i, one in enumerate(schedulers.values()):
        kept = one.alphas_cumprod.double().numpy()
        np.testing.assert_array_equal(beta.lines[i].get_ydata(), one.betas.double().numpy())
        np.testing.assert_array_equal(alpha_bar.lines[i].get_ydata(), kept)
        np.testing.assert_array_equal(snr.lines[i].get_ydata(), kept / (1 - kept))
    assert [text.get_text() for text in beta.get_legend().texts] == list(families)
    assert (beta.get_yscale(), alpha_bar.get_yscale(), snr.get_yscale()) == ("log", "linear", "log")


def test_schedule_curves_of_a_zero_terminal_snr(tmp_path):
    make = backends.load("scratch").DDPMScheduler
    rescaled = make(50, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    figure = curves.schedule_curves({"zero": rescaled})
    assert figure.axes[2].lines[0].get_ydata()[-1] == 0
    plotting.save(figure, tmp_path / "zero.png")


def test_schedule_curves_need_a_scheduler():
    with pytest.raises(ValueError, match="expected at least one"):
        curves.schedule_curves({})


def test_curves_keep_apart_without_colour():
    runs = {str(i): [1.0, 0.5] for i in range(4)}
    (axes,) = curves.loss_curves(runs).axes
    assert len({line.get_color() for line in axes.lines}) == 4
    assert len({line.get_linestyle() for line in axes.lines}) == 4


def test_histograms_count_every_pixel():
    half = torch.full((2, 1, 4, 4), -1.0)
    half[:, :, :2] = 1
    tails = torch.full((1, 3, 2, 2), 3.0)
    (axes,) = curves.histograms({"half": half, "tails": tails}, bins=4).axes
    first, second = (patch.get_data() for patch in axes.patches)
    np.testing.assert_array_equal(first.edges, [-1, 0, 1, 2, 3])
    np.testing.assert_array_equal(first.values, [0.5, 0, 0.5, 0])
    np.testing.assert_array_equal(second.values, [0, 0, 0, 1])
    assert [text.get_text() for text in axes.get_legend().texts] == ["half", "tails"]


def test_histograms_cover_the_whole_range_in_so_many_bins():
    (axes,) = curves.histograms({"grey": torch.zeros(1, 1, 2, 2)}).axes
    edges = axes.patches[0].get_data().edges
    np.testing.assert_allclose(edges, np.linspace(-1, 1, 51), rtol=0, atol=0)


@pytest.mark.parametrize(("sets", "bins"), [({}, 3), ({"a": torch.zeros(1, 1, 2, 2)}, 0)])
def test_histograms_refuse_nothing(sets, bins):
    with pytest.raises(ValueError, match="expected at least one of each"):
        curves.histograms(sets, bins)
