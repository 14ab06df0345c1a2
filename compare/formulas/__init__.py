"""Which formula a measured curve is, without a catalogue: a coefficient is read, not recognised.

Without a clip a step, `add_noise` and the velocity are linear, and nearly every coefficient that a
person writes is a product of powers of a few known curves over t. The logarithm of a measured
curve is then linear in the logarithms of these, and least squares finds the exponents.

    atoms.py        the known curves, at t and at other indices, and what float32 costs each
    expressions.py  products and sums of them: values, allowances, how they are written
    fit.py          products by least squares on logarithms, checked at every t, at t, at another
                    index, or with one factor that is a sum; the choice
    sums.py         sums of two products, of a curve or of its square
    curves.py       what was measured: the coefficients of add_noise, and the size of the noise
    losses.py       of a training loss: its x_t, its target, its weights
    measured.py     what x_t and the model's output weigh in a step
    bases/          the coefficients of a step in every basis that its sampler may be written in
    eta.py          which eta a step of DDIM has: that of its noise
    loops.py        those of a loop, which may be any sampler's
    naming.py       the words: what a program computes, what it should, the numbers at three t

It rests on `oracle/` and `measure/` and knows no verdict and no mistake.
"""
