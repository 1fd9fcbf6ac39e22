"""The `voxflate` command: thin calls into the library, one file per group of commands.

Progress bars, exit statuses and the terminal exist only here. Start-up must be fast: PyTorch and
the rooms that need it are imported inside the command functions.
"""

from voxflate.cli.app import app, main

__all__ = ["app", "main"]
