"""Methods and variants by the network that is built for them."""

from msff.models.registry import LIKE, METHODS, SCHEDULE_VARIANTS, SCRATCH_VARIANTS

BUILT = [(name, variant) for name, method in METHODS.items() if method.has_network for variant in method.variants]
_ALIKE = {*SCHEDULE_VARIANTS, *SCRATCH_VARIANTS, *LIKE, "native", "regressed"} - {"one-scale"}
DISTINCT = [(name, v) for name, v in BUILT if v not in _ALIKE and (name, v) != ("chen", "plain")]
"""Without those that differ from another in training or initial weights alone."""
