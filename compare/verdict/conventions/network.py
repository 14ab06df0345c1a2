"""How a network of a candidate's own is called, and with what pictures."""

from contextlib import suppress

from compare.candidate.load import Broken
from compare.candidate.loop.calls import sized
from compare.candidate.subject import Subject
from compare.stages.network.look import denoiser_of


def card_of_network(subject: Subject) -> dict[str, str]:
    """{what: the value} for a network alone."""
    card: dict[str, str] = {}
    with suppress(Broken):  # the stage tells what it raises
        one = denoiser_of(subject)
        card["called"] = f"{one.words}, t {one.time} from 0 to {one.T - 1}"
        card["pictures"] = f"{sized(one.shape)} (that it takes)"
    return card
