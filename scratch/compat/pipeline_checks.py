"""What the pipeline refuses before it draws anything."""

from typing import Any

from scratch.compat.scheduler_checks import check_choice, require, whole_number


def check_request(batch_size: Any, output_type: Any, output_types: Any, config: Any) -> int:
    """`batch_size` as an int of at least 1.

    Args:
        batch_size: how many pictures were asked for.
        output_type: as what.
        output_types: the `Literal` of what there is.
        config: the UNet's, ours or Diffusers'.

    Raises:
        ValueError: `batch_size` or `output_type` is none, or the UNet's config does not give the
            size of a picture, or one that PIL cannot show.
    """
    b = whole_number(batch_size)
    if b is None or b < 1:
        raise ValueError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
    check_choice("output_type", output_type, output_types)
    require(
        output_type != "pil" or config.in_channels in (1, 3, 4),
        f"PIL shows 1, 3 or 4 channels, not {config.in_channels}; take output_type='np'",
    )
    require(
        config.sample_size is not None,
        "the UNet's config has no sample_size; build it with the height of a picture",
    )
    return b
