"""Entries in this process, within bounds: a store of them, one entry, when entries end."""
