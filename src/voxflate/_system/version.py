"""The package's version, in the lowest room, because all rooms write it into files."""

__version__ = "0.1.0"
