"""The command line, in the extra `cli`.

`app` holds the commands, `values` reads and shows what they store. `check` tries the
aliases. `demo` measures what a cache saves over the modules that `corpus` finds and parses.
What they return, `report` shows.
"""
