"""The paper's study: its tables and figures with seeds, from one command (docs/studies.md)."""
