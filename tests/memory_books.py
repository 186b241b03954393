"""What must hold of a memory store at any time."""

from twofold.backends.memory import MemoryBackend


def check(store: MemoryBackend) -> None:
    """Assert that its entries, bytes, ring and expiries agree."""
    inner = store._store
    assert not inner.busy
    assert len(inner.entries) <= inner.max_entries
    assert inner.bytes <= inner.max_bytes
    assert inner.bytes == sum(entry.size for entry in inner.entries.values())
    for key, entry in inner.entries.items():
        assert entry.key == key
        assert entry.bucket is None or key in entry.bucket
    ring = list(inner._ring)
    assert [entry for entry in inner.entries.values() if entry not in ring] == []
    assert len(ring) <= 1.5 * len(inner.entries) + 100
    kept = sum(len(bucket) for bucket in inner._expiries._buckets.values())
    assert kept == sum(entry.bucket is not None for entry in inner.entries.values())
