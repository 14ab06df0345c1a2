"""`ddpm bench`: how fast both backends are here, beside others' code and the machine's limit.

Times of another day or machine mean little: whatever is compared is timed in turns, in one run, and
the median of the ratios is judged, each of neighbours in time.

    setting.py      what is measured: device, network, pictures
    ours.py         the trainer and the samplers of this project, as pieces of work
    peers.py        the tutorial's loop, Diffusers' pipeline, denoising-diffusion-pytorch
    timing.py       turns, ratios, peak memory, FLOP
    limits.py       what the machine can do at most
    scaling.py      one step against picture size, batch and width
    report.py       all of it: the table, the JSON, what pays
    chart.py        the plot
"""
