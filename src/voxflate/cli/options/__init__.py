"""The arguments and options of the commands: `shared`, and one file for each command with many of its own."""
