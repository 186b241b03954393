"""One room per store; each knows a driver, and no rule of caching."""
