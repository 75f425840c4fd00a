"""sacbnet: learned 3-D medical image registration."""

__version__ = "0.1.0"
