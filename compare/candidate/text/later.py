"""Parts of a diffusion that no role can hold yet, and what can be judged of them meanwhile."""

import re
from dataclasses import dataclass

from compare.candidate.door.names import plain


@dataclass(frozen=True)
class Later:
    """A role that is not built.

    Attributes:
        name: of the role.
        what: in words.
        instead: what can be judged, or looked up, meanwhile.
        called: what people call such functions and classes, without underlines.
    """

    name: str
    what: str
    instead: str
    called: str

    @property
    def said(self) -> str:
        """One line for who asks for it."""
        return f"there is no role {self.name} yet ({self.what}); {self.instead}"


EVERY = (
    Later(
        "guidance",
        "two answers mixed, as a function of its own",
        "a loop that guides is judged as `sample`; the card of conventions has its two numbers",
        "guidance.*|guidedoutput|cfg|cfg_?model.*|classifierfree.*",
    ),
    Later(
        "label_dropout",
        "labels left out for some images of a batch in training",
        "a loss that is handed labels is judged as `loss`, and which it drops is not looked at",
        "labeldropout|dropoutlabels|droplabels?|droplabel.*|conddrop.*|contextmask|tokendrop",
    ),
    Later(
        "ema",
        "a moving average of weights",
        "`ddpm explain 100`, `101` and `101-kept` say what goes wrong in one, and `ddpm compare "
        "--only training` judges ours; of yours, the network is judged as `network`",
        "ema|.*ema(model|weights|update|helper)|(update|apply|step)ema.*|modelema"
        "|.*movingaverage.*|averagedmodel|updateaverages?|averageweights",
    ),
    Later(
        "invert",
        "DDIM's steps upwards, from a picture to noise",
        "the steps down are judged as `step` or `sample`, and what noises as `add_noise`",
        "invert|(ddim)?inver(t|sion).*|.*inversion.*|(ddim)?reversesample|encodeddim|ddimencode",
    ),
    Later(
        "start",
        "a loop that begins with a noised picture, image to image",
        "what noises it is judged as `add_noise`, and the loop from noise as `sample`",
        "startfrom.*|img2img.*|imagetoimage|image2image|sdedit",
    ),
    Later(
        "vlb",
        "the terms of the bound on the likelihood, as a function of its own",
        "a loss that adds them to the simple one, for a learned variance, is judged as `loss`",
        "vlb.*|.*vbtermsbpd|lvlb",
    ),
)


def asked(word: str) -> Later | None:
    """What a word asks for that should be a role or a stage; None if it is none of these.

    >>> asked("start").name, asked("step")
    ('start', None)
    """
    return next((each for each in EVERY if word == each.name), None) or _called(word)


def asked_by(*names: str) -> str:
    """`"; "` and the line on the first of some functions and classes that is such; "" if none is.

    >>> asked_by("main", "ema_update")[:28], asked_by("main", "start")
    ('; there is no role ema yet (', '')
    """
    found = [later for later in map(_called, names) if later is not None]
    return f"; {found[0].said}" if found else ""


def _called(name: str) -> Later | None:
    return next((each for each in EVERY if re.fullmatch(each.called, plain(name))), None)
