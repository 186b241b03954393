"""Copies that a process keeps of what a far store has: the tier, its reads, its own writes."""
