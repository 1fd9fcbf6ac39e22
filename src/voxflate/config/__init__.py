"""Settings: typed, read from TOML, named as presets, turned into objects."""
