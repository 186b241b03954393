"""Who computes a key while others wait: in this process, and through the store among processes."""
