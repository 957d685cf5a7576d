"""The stand-in: procedural, articulated, rendered hands in the official formats, without any asset.

Frames: ``hand`` is a left hand with the wrist at the origin, x to the thumb, y to the fingertips, z out of the back
of the hand, millimetres; ``cam`` is the camera's frame of :mod:`msff.camera`. A right hand is a mirrored left one.
"""

from msff.standin.renderer import RenderedBatch
from msff.standin.scene import render
from msff.standin.version import GENERATOR_VERSION

__all__ = ["GENERATOR_VERSION", "RenderedBatch", "render"]
