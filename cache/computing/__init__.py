"""Values that are computed where they are missing or old: by one caller, for all who ask.

`operations` are those of a cache, `answers` tell what a caller is given of what it finds,
`computations` bring the value of one key and `batches` with `loads` those of several, `maker`
makes of what a function returns what is to be stored, `private_writes` put it into a store of
this process's own, `unserializable` knows whose results cannot be stored.
"""
