"""`python -m voxflate` is the `voxflate` command."""

from voxflate.cli import main

main()
