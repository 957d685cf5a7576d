"""The stand-in: procedural, articulated, rendered hands in the official formats, without any asset.

Frames: ``hand`` is a left hand with the wrist at the origin, x to the thumb, y to the fingertips, z out of the back
of the hand, millimetres; ``cam`` is the camera's frame of :mod:`msff.camera`. A right hand is a mirrored left one.
"""

from msff.standin.version import GENERATOR_VERSION

__all__ = ["GENERATOR_VERSION", "RenderedBatch", "render"]


def __getattr__(name: str):
    """Import the renderer at its first use: it takes seconds, and most commands render nothing."""
    if name == "render":
        from msff.standin.scene import render

        return render
    if name == "RenderedBatch":
        from msff.standin.renderer import RenderedBatch

        return RenderedBatch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
