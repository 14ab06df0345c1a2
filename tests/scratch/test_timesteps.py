"""The lists of timesteps, for every n: against exact fractions, and against Diffusers'."""

from itertools import pairwise

import diffusers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scratch.timesteps import leading, linspace, trailing

SPACINGS = {"leading": leading, "linspace": linspace, "trailing": trailing}


def exact(spacing: str, T: int, n: int) -> tuple[list[int], int]:
    """The list before rounding, noisiest first, as exact fractions: numerators, denominator."""
    if spacing == "leading":
        return [i * (T // n) for i in reversed(range(n))], 1
    if spacing == "linspace":
        return [i * (T - 1) for i in reversed(range(n))], max(n - 1, 1)
    return [n * (T - 1) - i * T for i in range(n)], n


def check(spacing: str, T: int, n: int) -> None:
    visited = SPACINGS[spacing](T, n)
    assert len(visited) == n
    assert all(a > b for a, b in pairwise(visited)), (T, n)
    assert visited[-1] >= 0
    assert visited[0] < T
    numerators, denominator = exact(spacing, T, n)
    for t, numerator in zip(visited, numerators, strict=True):
        assert 2 * abs(t * denominator - numerator) <= denominator, (T, n, t)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_count_of_a_thousand(spacing: str) -> None:
    for n in range(1, 1001):
        check(spacing, 1000, n)


@given(st.data(), st.sampled_from(list(SPACINGS)), st.integers(1, 3000))
@settings(max_examples=60)
def test_any_count_of_any_length(data: st.DataObject, spacing: str, T: int) -> None:
    check(spacing, T, data.draw(st.integers(1, T)))


def test_the_ends_that_give_the_spacings_their_names() -> None:
    for n in range(2, 1001):
        assert leading(1000, n)[-1] == 0
        assert (linspace(1000, n)[0], linspace(1000, n)[-1]) == (999, 0)
        assert trailing(1000, n)[0] == 999
    assert (leading(1000, 1), linspace(1000, 1), trailing(1000, 1)) == ([0], [0], [999])
    for spacing in SPACINGS.values():
        assert spacing(7, 7) == [6, 5, 4, 3, 2, 1, 0]


@given(st.integers(1, 1000), st.integers(0, 50))
@settings(max_examples=60)
def test_an_offset_moves_the_leading_list_or_is_refused(n: int, offset: int) -> None:
    highest = (n - 1) * (1000 // n) + offset
    if highest < 1000:
        assert leading(1000, n, offset) == [t + offset for t in leading(1000, n)]
    else:
        with pytest.raises(ValueError, match=rf"steps_offset={offset} .* timesteps {highest}, but"):
            leading(1000, n, offset)


def test_a_negative_offset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"steps_offset=-1 .* use an offset in 0\.\.249"):
        leading(1000, 4, offset=-1)


def test_against_diffusers_every_count() -> None:
    """Equal but where the exact value is k + 1/2, and where `trailing` goes on to t = -1 there."""
    extra = []
    for spacing, ours in SPACINGS.items():
        theirs = diffusers.DDPMScheduler(timestep_spacing=spacing)
        for n in range(1, 1001):
            theirs.set_timesteps(n)
            visited = theirs.timesteps.tolist()
            if len(visited) != n:
                assert spacing == "trailing"
                assert visited[n:] == [-1]
                extra.append(n)
            numerators, denominator = exact(spacing, 1000, n)
            for t, other, numerator in zip(ours(1000, n), visited[:n], numerators, strict=True):
                half_way = 2 * (numerator % denominator) == denominator
                assert t == other or half_way, (spacing, n, t, other)
    # `test_against_diffusers.py` demands that there are any.
    assert (len(extra), extra[:3]) == (62, [61, 103, 121]) or not extra
