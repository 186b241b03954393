"""Tags: what many entries can be made invalid by, at once."""
