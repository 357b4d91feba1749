"""How many images a network takes in one run."""

from __future__ import annotations

# Pixels that one run of a network takes, or a single image: enough that the small maps at its end are worth reading the
# weights for, few enough that the large ones at its start stay in the caches. EfficientNet-Lite0 at 160 x 160, where
# int8 has AMX: an image takes 15 % less in runs of 4 than alone with int8, 8 % less with fp32; in runs of 8 fp32 loses
# that again, and on another machine took a third more than alone.
_RUN_PIXELS = 4 * 160 * 160


def images_a_run(height: int, width: int) -> int:
    """Images of one size in a run, at least 1.

    Args:
        height, width: In pixels.
    """
    return max(1, _RUN_PIXELS // (height * width))
