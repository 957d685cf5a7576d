"""An executable reproduction study of MS-FF (Zhan & Luo, 2023)."""

__version__ = "0.1.0"
