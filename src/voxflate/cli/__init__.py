"""The `voxflate` command: thin calls into the library, one file per group of commands.

Only here do progress bars, exit statuses and the terminal exist. Start-up must stay quick: PyTorch and
the rooms that need it are imported inside the command functions.
"""

from voxflate.cli.app import app, main

__all__ = ["app", "main"]
