"""The generator's version, raised whenever the same seed would give other images or annotations."""

GENERATOR_VERSION = 2
