"""What happens to a computed value between fresh and gone.

`options` says what may be said of that, `policy` decides, `rests` are the keys that are not
refreshed for a while, `kept_errors` exceptions that are kept like values, `overrides` what one
request does otherwise.
"""
