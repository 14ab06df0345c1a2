"""Which lines of ours, which of the library's and which checks belong to one equation.

A pair's `library` is (file, text of the first line, text of the line after the last, text of an
earlier line). The texts are the library's own numbered comments where it has them.
"""

from dataclasses import dataclass

DDPM = "schedulers/scheduling_ddpm.py"
DDIM = "schedulers/scheduling_ddim.py"
PIPELINE = "pipelines/ddpm/pipeline_ddpm.py"
EMBEDDINGS = "models/embeddings.py"
RESNET = "models/resnet.py"
ATTENTION = "models/attention_processor.py"
UNET = "models/unets/unet_2d.py"
BLOCKS = "models/unets/unet_2d_blocks.py"

HO = "Ho et al. 2020, arXiv:2006.11239"
NICHOL = "Nichol & Dhariwal 2021, arXiv:2102.09672"
SONG = "Song et al. 2020, arXiv:2010.02502"
SALIMANS = "Salimans & Ho 2022, arXiv:2202.00512"
LIN = "Lin et al. 2023, arXiv:2305.08891"
VASWANI = "Vaswani et al. 2017, arXiv:1706.03762"
SAHARIA = "Saharia et al. 2022, arXiv:2205.11487"


@dataclass(frozen=True)
class Pair:
    """One equation twice.

    Attributes:
        equation: TeX.
        source: paper and number.
        scratch: (file, region or function) of ours, one or more.
        library: (file, start, end, inside), or None where the library has no such lines.
        stage: the stage of `compare` that judges it.
        checks: words of which one is in the id of a check; all checks of the stage if empty.
    """

    equation: str
    source: str
    scratch: tuple[tuple[str, str], ...]
    library: tuple[str, str, str, str] | None
    stage: str
    checks: tuple[str, ...] = ()


PAIRS = {
    "schedule/linear": Pair(
        r"\beta_t = \beta_{\text{start}} + \frac{t}{T-1}\,(\beta_{\text{end}} -"
        r" \beta_{\text{start}}), \qquad t = 0 \dots T-1",
        f"{HO}, Section 4: from 0.0001 to 0.02 over T = 1000 steps.",
        (("scratch/schedule.py", "linear"),),
        (DDPM, 'elif beta_schedule == "linear":', 'elif beta_schedule == "scaled_linear":', ""),
        "schedule",
        ("linear",),
    ),
    "schedule/cosine": Pair(
        r"\beta_t = \min\Big(1 - \frac{f(t + 1)}{f(t)},\, 0.999\Big), \quad f(t) ="
        r" \cos^2\!\Big(\frac{t/T + s}{1 + s} \cdot \frac{\pi}{2}\Big), \quad s = 0.008, \quad"
        r" \text{so that } \abar = \frac{f(t + 1)}{f(0)}",
        f"{NICHOL}, equation 17 and the text below it, with t counted from 0.",
        (("scratch/schedule.py", "cosine"),),
        (
            DDPM,
            'if alpha_transform_type == "cosine":',
            'elif alpha_transform_type == "laplace":',
            "def betas_for_alpha_bar",
        ),
        "schedule",
        ("cos",),
    ),
    "schedule/scaled-linear": Pair(
        r"\beta_t = \Big(\sqrt{\beta_{\text{start}}} + \frac{t}{T-1}\,(\sqrt{\beta_{\text{end}}} -"
        r" \sqrt{\beta_{\text{start}}})\Big)^2",
        "The code of Rombach et al. 2022, arXiv:2112.10752; the paper has no equation for it.",
        (("scratch/schedule.py", "scaled_linear"),),
        (
            DDPM,
            'elif beta_schedule == "scaled_linear":',
            'elif beta_schedule == "squaredcos_cap_v2":',
            "",
        ),
        "schedule",
        ("scaled_linear",),
    ),
    "schedule/sigmoid": Pair(
        r"\beta_t = \beta_{\text{start}} + (\beta_{\text{end}} - \beta_{\text{start}})\;"
        r"\text{logistic}\Big({-6} + 12\,\frac{t}{T-1}\Big)",
        "The code of GeoDiff, Xu et al. 2022, arXiv:2203.02923.",
        (("scratch/schedule.py", "sigmoid"),),
        (DDPM, 'elif beta_schedule == "sigmoid":', "else:", ""),
        "schedule",
        ("sigmoid",),
    ),
    "schedule/alpha-bar": Pair(
        r"\alpha_t = 1 - \beta_t, \qquad \abar = \prod_{s=0}^{t} \alpha_s",
        f"{HO}, Section 2.",
        (("scratch/scheduler.py", "tables"),),
        (DDPM, "self.alphas = 1.0 - self.betas", "self.one =", ""),
        "schedule",
    ),
    "schedule/zero-terminal-snr": Pair(
        r"\sqrt{\abar} \leftarrow \big(\sqrt{\abar} - \sqrt{\bar\alpha_{T-1}}\big)"
        r"\,\frac{\sqrt{\bar\alpha_0}}{\sqrt{\bar\alpha_0} - \sqrt{\bar\alpha_{T-1}}}",
        f"{LIN}, Algorithm 1, with t counted from 0.",
        (("scratch/schedule.py", "zero_terminal_snr"),),
        (DDPM, "# Convert betas to alphas_bar_sqrt", "return betas", ""),
        "schedule",
        ("zero", "snr"),
    ),
    "forward/add-noise": Pair(
        r"x_t = \sqrt{\abar}\, x_0 + \sqrt{1 - \abar}\; \eps, \qquad \eps \sim \N(0, I)",
        f"{HO}, equation 4.",
        (("scratch/forward.py", "add_noise"),),
        (DDPM, "sqrt_alpha_prod = alphas_cumprod", "return noisy_samples", "def add_noise"),
        "forward",
    ),
    "prediction/velocity": Pair(
        r"v = \sqrt{\abar}\; \eps - \sqrt{1 - \abar}\; x_0",
        f"{SALIMANS}, Section 4.",
        (("scratch/forward.py", "velocity"),),
        (DDPM, "velocity = sqrt_alpha_prod", "return velocity", "def get_velocity"),
        "forward",
        ("velocity",),
    ),
    "reverse-step/tables": Pair(
        r"\alpha = \frac{\abar}{\abarprev}, \qquad \beta = 1 - \alpha",
        f"{HO}, Section 2, written for a chain that may skip timesteps.",
        (("scratch/ddpm.py", "step/1"),),
        (DDPM, "# 1. compute alphas, betas", "# 2. compute predicted", "def step"),
        "timesteps",
    ),
    "reverse-step/x0": Pair(
        r"\xhat = \frac{x_t - \sqrt{1 - \abar}\; \eps_\theta(x_t, t)}{\sqrt{\abar}}",
        f"{HO}, equation 15.",
        (("scratch/reverse.py", "x_0_from_eps"),),
        (
            DDPM,
            "# 2. compute predicted original",
            'elif self.config.prediction_type == "sample"',
            "def step",
        ),
        "prediction",
    ),
    "prediction/x0-from-v": Pair(
        r"\xhat = \sqrt{\abar}\; x_t - \sqrt{1 - \abar}\; v",
        f"{SALIMANS}, Section 4.",
        (("scratch/reverse.py", "x_0_from_v"),),
        (DDPM, 'elif self.config.prediction_type == "v_prediction"', "else:", "def step"),
        "prediction",
    ),
    "prediction/eps-from-x0": Pair(
        r"\eps = \frac{x_t - \sqrt{\abar}\; x_0}{\sqrt{1 - \abar}}",
        f"{HO}, equation 4 solved for the noise.",
        (("scratch/reverse.py", "eps_from_x_0"),),
        (DDIM, 'elif self.config.prediction_type == "sample"', "elif", "# 3. compute predicted"),
        "prediction",
    ),
    "prediction/eps-from-v": Pair(
        r"\eps = \sqrt{\abar}\; v + \sqrt{1 - \abar}\; x_t",
        f"{SALIMANS}, Appendix D.",
        (("scratch/reverse.py", "eps_from_v"),),
        (
            DDIM,
            'elif self.config.prediction_type == "v_prediction"',
            "else:",
            "# 3. compute predicted",
        ),
        "prediction",
    ),
    "reverse-step/clip": Pair(
        r"\xhat \leftarrow \min(\max(\xhat, -1), 1)",
        "Not in the paper's equations: the authors' code does it (see the text).",
        (("scratch/scheduler.py", "clip"),),
        (DDPM, "# 3. Clip or threshold", "# 4. Compute coefficients", "def step"),
        "prediction",
        ("clip", "threshold"),
    ),
    "reverse-step/threshold": Pair(
        r"s = \max\big(1,\, Q_p(|\xhat|)\big), \qquad"
        r" \xhat \leftarrow \frac{\min(\max(\xhat, -s), s)}{s}",
        f"{SAHARIA}, Section 2.3, with a largest value of s; Q is the quantile p of one image.",
        (("scratch/reverse.py", "dynamic_threshold"),),
        (
            DDPM,
            "# Flatten sample for doing quantile",
            "sample = sample.to(dtype)",
            "def _threshold_sample",
        ),
        "prediction",
        ("threshold",),
    ),
    "reverse-step/mean": Pair(
        r"\tilde\mu = \frac{\sqrt{\abarprev}\,\beta}{1 - \abar}\,\xhat +"
        r" \frac{\sqrt{\alpha}\,(1 - \abarprev)}{1 - \abar}\, x_t",
        f"{HO}, equation 7.",
        (("scratch/reverse.py", "posterior_mean"),),
        (DDPM, "# 4. Compute coefficients", "# 6. Add noise", "def step"),
        "mean",
    ),
    "reverse-step/variance": Pair(
        r"\tilde\beta = \frac{1 - \abarprev}{1 - \abar}\,\beta",
        f"{HO}, equation 7.",
        (("scratch/reverse.py", "posterior_variance"),),
        (
            DDPM,
            "variance = (1 - alpha_prod_t_prev)",
            "# we always take the log",
            "def _get_variance",
        ),
        "variance",
    ),
    "reverse-step/noise": Pair(
        r"\xprev = \tilde\mu + \sigma z, \qquad z \sim \N(0, I), \qquad"
        r" z = 0 \text{ at the last step}",
        f"{HO}, Algorithm 2, lines 3 and 4.",
        (("scratch/ddpm.py", "step/5"),),
        (DDPM, "# 6. Add noise", "if not return_dict", "def step"),
        "variance",
    ),
    "sampling/loop": Pair(
        r"\begin{gathered} x_T \sim \N(0, I); \quad"
        r" \text{for each } t \text{ of the list, falling:} \\"
        r" \xprev = \text{step}(\eps_\theta(x_t, t), t, x_t) \end{gathered}",
        f"{HO}, Algorithm 2.",
        (("scratch/pipeline.py", "sample"),),
        (PIPELINE, "# set step values", "if XLA_AVAILABLE", "def __call__"),
        "pipeline",
    ),
    "timesteps/leading": Pair(
        r"t_i = i\,\lfloor T / n \rfloor + \text{offset}, \qquad i = n-1 \dots 0",
        f"{LIN}, Table 2, with t counted from 0.",
        (("scratch/timesteps.py", "leading"),),
        (DDPM, 'elif self.config.timestep_spacing == "leading"', "elif", "def set_timesteps"),
        "timesteps",
        ("leading",),
    ),
    "timesteps/linspace": Pair(
        r"t_i = \text{round}\Big(i\,\frac{T-1}{n-1}\Big), \qquad i = n-1 \dots 0",
        f"{LIN}, Table 2, with t counted from 0.",
        (("scratch/timesteps.py", "linspace"),),
        (DDPM, 'if self.config.timestep_spacing == "linspace"', "elif", "def set_timesteps"),
        "timesteps",
        ("linspace",),
    ),
    "timesteps/trailing": Pair(
        r"t_i = \text{round}\Big(T - i\,\frac{T}{n}\Big) - 1, \qquad i = 0 \dots n-1",
        f"{LIN}, Table 2, with t counted from 0.",
        (("scratch/timesteps.py", "trailing"),),
        (DDPM, 'elif self.config.timestep_spacing == "trailing"', "else:", "def set_timesteps"),
        "timesteps",
        ("trailing",),
    ),
    "ddim/sigma": Pair(
        r"\sigma = \eta\,\sqrt{\frac{1 - \abarprev}{1 - \abar}}\,"
        r"\sqrt{1 - \frac{\abar}{\abarprev}}",
        f"{SONG}, equation 16.",
        (("scratch/ddim.py", "ddim_sigma"),),
        (DDIM, "# 5. compute variance", "if use_clipped_model_output", "def step"),
        "variance",
    ),
    "ddim/mean": Pair(
        r"\xprev = \sqrt{\abarprev}\;\xhat + \sqrt{1 - \abarprev - \sigma^2}\;\eps_\theta +"
        r" \sigma z",
        f"{SONG}, equation 12.",
        (("scratch/ddim.py", "ddim_mean"),),
        (DDIM, "# 6. compute", "if eta > 0", "def step"),
        "mean",
    ),
    "unet/timestep-embedding": Pair(
        r"\text{emb}(t) = \big[\cos(\omega_i t), \sin(\omega_i t)\big], \qquad"
        r" \omega_i = 10000^{-i/(d/2 - \text{shift})}, \quad i = 0 \dots d/2 - 1",
        f"{HO}, Appendix B; {VASWANI}, Section 3.5.",
        (("scratch/unet.py", "timestep_embedding"),),
        (EMBEDDINGS, "half_dim = embedding_dim // 2", "# zero pad", "def get_timestep_embedding"),
        "unet",
        ("blocks",),
    ),
    "unet/whole": Pair(
        r"x_t \;\longrightarrow\; \text{down} \;\longrightarrow\; \text{middle}"
        r" \;\longrightarrow\; \text{up} \;\longrightarrow\; \eps_\theta(x_t, t)",
        f"{HO}, Appendix B.",
        (("scratch/unet.py", "unet"),),
        (UNET, "# 2. pre-process", "if skip_sample is not None", "def forward"),
        "unet",
        ("blocks",),
    ),
    "unet/up": Pair(
        r"x \leftarrow \text{block}\big([x,\, \text{skip}],\, \text{emb}\big)"
        r" \quad \text{the last skip first}",
        f"{HO}, Appendix B.",
        (("scratch/unet.py", "up_block"),),
        (BLOCKS, "for resnet, attn in zip", "return hidden_states", "class AttnUpBlock2D"),
        "unet",
        ("blocks",),
    ),
    "unet/residual-block": Pair(
        r"x \leftarrow x + C_2\,\text{silu}\,N_2\big(C_1\,\text{silu}\,N_1(x) +"
        r" W\,\text{silu}(\text{emb})\big)",
        f"{HO}, Appendix B; C is a 3 × 3 convolution, N a GroupNorm (arXiv:1803.08494).",
        (("scratch/unet.py", "residual_block"),),
        (
            RESNET,
            "hidden_states = self.conv1(hidden_states)",
            "return output_tensor",
            "class ResnetBlock2D",
        ),
        "unet",
        ("blocks",),
    ),
    "unet/self-attention": Pair(
        r"x \leftarrow x + W_o\,\text{softmax}\Big(\frac{Q K^\top}{\sqrt d}\Big) V, \qquad"
        r" Q, K, V = W_q y,\; W_k y,\; W_v y, \quad y = N(x)",
        f"{VASWANI}, equation 1; in the U-Net: {HO}, Appendix B.",
        (("scratch/unet.py", "self_attention"),),
        (ATTENTION, "key = attn.to_k", "# dropout", "class AttnProcessor2_0"),
        "unet",
        ("blocks",),
    ),
}
