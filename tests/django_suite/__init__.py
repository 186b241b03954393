"""Django's own cache and session tests, with our backends in the place of Django's.

They come from the source distribution of the Django that is installed, and are run in a
process of their own for each backend and way of calling:

    sources      fetches the tests, and puts our names in the place of Django's
    places       the backend that stands in the place of `LocMemCache`
    pages        our middleware and `cache_page`, in the place of Django's
    faces        sends every call through its `a` twin, and every page through an async view
    exclusions   what is not run, and why
    __main__     `python -m tests.django_suite`: one run, in a process of its own
    runs         starts runs and reads what they report
"""
