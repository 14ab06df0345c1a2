"""What a name stands for: the picture, the model's output, t, the noise.

Names are what people write; a name that could be two things is what is left of the two.
"""

import re
from collections.abc import Sequence

T = "t ts timestep timesteps step steps time times timestepts i k idx index tt"
X = """noised noisedx noisedimage noisedimages noiseddata noisydata
    x xt xs sample samples image images img imgs picture pictures latent latents xnoisy noisy
    noisyimage noisyimages noisysample noisysamples noisyx xnoise zt current currentsample"""
PREDICTED = """pred prediction noisepred prednoise predictednoise noiseprediction
    predictednoises modeloutput modelout modelpred modelprediction output out epspred predeps
    predictedeps epstheta epsthetat epsilontheta epsilonthetat epshat noisehat epsilonhat etheta
    predicted guess epsguess nethout netout unetout modelnoise estimate noiseestimate
    estimatednoise epspredicted v vpred predv velocity predx0 predxstart xpred x0pred
    xstartpred x0hat"""
VELOCITY = "v vt vhat vpred predv velocity vtarget targetv velocitytarget targetvelocity"
NOISE = "eps epsilon e et noise noises epsilont epst noiset"
DRAWN = """z zs freshnoise newnoise randomnoise gaussian gaussiannoise rand extranoise initnoise
    initialnoise startnoise"""
CLEAN = """cleandata x x0 z0 xs sample samples image images img imgs original originals
    originalsample originalsamples xstart xinit clean cleanimage cleanimages cleanx data picture
    pictures latent latents originalimage originalimages originalx batch"""


TIMES = {  # as keywords of a model
    *("t", "ts", "t_batch", "time", "times", "timestep", "timesteps", "time_step", "time_steps"),
    *("step", "steps", "diffusion_step", "diffusion_steps", "noise_level", "noise_labels"),
}
LABELS = {  # may be numbers for each image too, and are never t
    *("y", "c", "cond", "condition", "context", "classes", "label", "labels", "text", "mask"),
    *("class_label", "class_labels", "context_mask", "cond_mask", "encoder_hidden_states"),
}
MODELS = {"model", "net", "network", "unet", "nn_model", "denoiser", "eps_model", "eps_theta"}
MODELS |= {"denoise_model", "denoise_fn", "eps_net", "eps_fn", "score_model", "model_fn"}
MODELS |= {"noise_model", "noise_predictor", "noise_net", "eps_network", "score_net", "unet_model"}
MODELS |= {"denoising_model", "denoiser_model", "mlp", "noise_mlp", "eps_mlp", "backbone"}
MODELS |= {"predictor", "noise_estimator", "estimator", "net_model", "diffusion_model", "eps_unet"}
MODELS |= {"predict", "predict_noise", "predict_eps", "ddpm"}
MODELS |= {re.sub("_(.)", lambda letter: letter[1].upper(), name) for name in MODELS}
GENERATORS = {"generator", "rng"}
SEEDS = {"seed", "random_seed", "randomSeed"}


def _of(text: str) -> frozenset[str]:
    return frozenset(text.split())


WORDS = {  # {method: {role: names, surest first}}
    "step": {"t": _of(T), "x": _of(X), "out": _of(PREDICTED), "z": _of(DRAWN)},
    "add_noise": {"t": _of(T), "x_0": _of(CLEAN), "noise": _of(f"{NOISE} {DRAWN} xnoise eta")},
}
WORDS["get_velocity"] = WORDS["add_noise"]
CALLED = {  # {role: what people call the method, surest first}
    "add_noise": """addnoise qsample noiseimages forwardsample forwardprocess forwarddiffusion
        diffuse perturb perturbinput noisify addnoiseto forwardnoise forwarddiffusionsample
        sampleq forward""",
    "step": """step psample reversestep denoisestep denoiseaddnoise sampleprevtimestep
        backwardsample reverse backward removenoise psamplestep sampletimestep denoise
        backwardstep reversediffusion denoisingstep reversediffusionstep samplestep ddpmstep
        ddimstep denoiseonestep""",
    "sample": """sample psampleloop generate sampleimages sampling ddpmsample sampleddpm ddimsample
        sampleloop reverseprocess ddpmsampling ddimsampling ddpmsampleloop ddimsampleloop
        generalizedsteps generateimages reversediffusion samplefromnoise samplebatch denoiseloop""",
    "loss": """loss plosses traininglosses trainingloss getloss computeloss diffusionloss
        simpleloss trainingstep""",
}
OF_LOOPS = {  # {what a parameter of a loop says beside its model: names}
    "count": _of("""n b bs num count batch batchsize nsample nsamples numsample numsamples nimage
        nimages numimages nimg nimgs numimgs nbatch howmany"""),
    "channels": _of("""c channels inchannels nchannels numchannels imagechannels imgchannels
        inputchannels channel"""),
    "side": _of("imagesize imgsize imsize resolution samplesize inputsize sidelength"),
    "shape": _of("shape imageshape sampleshape imgshape inputshape size"),
    "length": _of("""length seqlen seqlength sequencelength horizon l numpoints npoints
        nnodes numnodes natoms numatoms"""),
    "features": _of("dim features nfeatures featuredim d ndims pointdim"),
    "height": _of("h height imageheight imgheight"),
    "width": _of("w width imagewidth imgwidth"),
    "device": _of("device"),
}


def plain(name: str) -> str:
    """A name without its underlines.

    >>> plain("x_T"), plain("noise_pred")
    ('xt', 'noisepred')
    """
    return name.lower().replace("_", "")


def role(method: str, name: str) -> str | None:
    """What a name stands for by itself, among the arguments of a method; None if nobody knows.

    >>> role("step", "noise_pred"), role("step", "x_t"), role("add_noise", "x_t")
    ('out', 'x', None)
    """
    word = plain(name)
    for known, names in WORDS[method].items():
        if word in names:
            return known
    return "out" if method == "step" and word in _of(NOISE) else None


def predicted(name: str) -> str | None:
    """What a model predicts whose output is called so; None if the name does not say it.

    >>> [predicted(name) for name in ("eps", "noise_pred", "pred_x0", "x_hat", "model_output")]
    ['epsilon', 'epsilon', 'sample', 'sample', None]
    """
    word = plain(name)
    if word in _of(NOISE) or any(part in word for part in ("eps", "noise")):
        return "epsilon"
    if word == "xhat" or any(part in word for part in ("x0", "xstart")):
        return "sample"
    return "v_prediction" if word in _of(VELOCITY) else None


def roles(method: str, names: Sequence[str | None]) -> list[str | None]:
    """What the arguments of a method stand for by their names, together.

    A role is given once. In a step, `eps` or `noise` is the model's output, but where another is
    named so it is the fresh noise z; x with another of the names as its index is x_t, and that t.

    >>> roles("step", ["x", "t", "eps", "noise"])
    ['x', 't', 'out', 'z']
    >>> roles("step", ["noise", "t", "x", "noise_pred"])
    ['z', 't', 'x', 'out']
    >>> roles("step", ["a", "t", "b"])
    [None, 't', None]
    >>> roles("step", ["x_n", "n", "eps"])
    ['x', 't', 'out']
    """
    found: list[str | None] = []
    words = [plain(name or "") for name in names]
    indices = {word for word in words if word and f"x{word}" in words}
    if method == "step" and len(indices) == 1:
        words = ["t" if w in indices else "x" if w[1:] in indices else w for w in words]
    sure = any(word in WORDS["step"]["out"] for word in words)
    for name, word in zip(names, words, strict=True):
        known = role(method, word) if name else None
        if known == "out" and word in _of(NOISE) and (sure or "out" in found):
            known = "z"
        found.append(None if known in found else known)
    return found
