"""How fast twofold is beside its peers: `python -m tests.benchmarks` (extra `bench`)."""
