"""twofold inside frameworks: one room for each, and `http` for what they share."""
