"""The command line, in the extra `cli`.

`app` holds the commands, `values` reads and shows what they store. `check` tries the
aliases. `demo` runs the main job over the modules that `corpus` finds: `ways` reach the
cache, `counting` is the expensive function. What they return, `report` shows.
"""
