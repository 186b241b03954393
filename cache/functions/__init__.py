"""Functions with a cache: `cached` and `cached.many`, what they make, and how calls are cached."""
