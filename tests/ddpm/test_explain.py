"""`ddpm explain`: a mistake by its number or name, beside what is right; else one line."""

import subprocess
import sys

import pytest

from compare.mistakes import ALL, BY_ID
from ddpm.cli import main


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `ddpm explain` prints."""
    assert main(["explain", *words]) == 0
    return capsys.readouterr().out


def test_a_mistake_by_its_number(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "5")
    lines = text.splitlines()
    assert lines[0] == "mistake 5: signal-without-root (stage forward)"
    assert lines[2] == BY_ID["5"].words
    wrong, right = text.split("\nright, compare.oracle.add_noise:\n")
    assert "right: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise (Ho et al." in wrong
    assert "    return mixed(x_0, noise, alpha_bar, (1 - alpha_bar).sqrt())" in wrong
    assert "    return _per_image(alpha_bar.sqrt(), x_0) * x_0" in right
    assert "\nfix: sqrt(alpha_bar) * x_0\neffect: " in right


def test_a_mistake_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "noise-over-variance")
    assert text == said(capsys, "43")
    assert "return (x_t - beta / (1 - ab) * eps) / alpha.sqrt()" in text
    assert text.endswith("seen in: junyeong-nero/DDPM reverse_decoder.py\n")


def test_a_mistake_of_a_network_and_one_with_nothing_to_show_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert "right, scratch.unet.SelfAttention.forward:" in said(capsys, "91")
    text = said(capsys, "17")
    assert "return Loss(noise=UNIFORM)" in text
    assert "right: the mean of (noise - model(x_t, t))^2" in text
    assert "\nright, " not in text


def test_without_a_word_it_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys).splitlines()
    assert [line.split()[0] for line in lines] == [mistake.id for mistake in ALL]
    assert [line.split()[1] for line in lines] == [f"{mistake.name}:" for mistake in ALL]
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("word", "close"),
    [
        ("signal-without-rot", "; close to it are signal-without-root"),
        ("49x", "; close to it are 49"),
        ("nothing like it", ""),
    ],
)
def test_another_word_is_refused_in_one_line(
    word: str, close: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", word]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith(f"ddpm explain: there is no mistake {word!r}{close}")
    assert line.endswith("; `ddpm explain` lists all")


def test_help_answers_without_torch() -> None:
    script = (
        "import sys; from ddpm.cli import main\n"
        "try: main(['explain', '--help'])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "ddpm explain 43" in shown
    assert shown.endswith("False\n")
