"""The heat-map volume: its geometry and the target's shape."""

from __future__ import annotations

from dataclasses import dataclass

from msff.choices import open_choice, require, stated


@dataclass(frozen=True)
class VolumeSpec:
    """Geometry and amplitude of the volume. The paper gives none of it; the defaults are InterNet's."""

    bins: int = open_choice(  # voxels along x, y and z alike
        64, tag="D24", source="As D21.", reason="As D21; profiles with smaller crops have a quarter of the crop's side."
    )  # fmt: skip
    crop_size: int = stated(256, "The hand image was resized to 256x256 (experiments)")  # px, of the network's input
    depth_range_mm: float = open_choice(  # covered by z, and by the relative root depth
        400.0, tag="D25",
        source="Nothing on the range of depth, of joints or of the relative root.",
        reason="InterNet's 400 mm about the wrist, for both.",
    )  # fmt: skip
    sigma_bin: float = open_choice(  # standard deviation of the Gaussian
        2.5, tag="D26",
        source="A Gaussian without its width.",
        reason="InterNet's 2.5 bins; smaller volumes keep 2.5/64 of their side.",
    )  # fmt: skip
    amplitude: float = open_choice(  # its peak
        255.0, tag="D27",
        source="A Gaussian without its height.",
        reason="InterNet's; it sets the weight of the heat maps against the other two losses.",
    )  # fmt: skip

    def __post_init__(self):
        require(self, "bins", "crop_size", "depth_range_mm", "sigma_bin", "amplitude", above=0)
