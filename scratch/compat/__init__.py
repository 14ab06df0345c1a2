"""What makes `scratch` a drop-in for Diffusers. To learn how DDPM works, skip it.

- `config.py`: constructor arguments as a read-only mapping that both libraries read.
- `saving.py`: folders that both read and write; no pickle is ever opened.
- `hub.py`: the same folders as repositories on the Hub.
- `showing.py`: the line that a notebook shows of a part.
- `not_built.py`: what Diffusers' classes have and these have not, and what to use.
- `scheduler_checks.py`, `unet_checks.py`, `pipeline_checks.py`: what each part refuses, in one
  line that says what came, what was expected and what to do.
- `gaps.py`: what this backend gets wrong of a run: nothing, where `with_diffusers` has a list.
"""
