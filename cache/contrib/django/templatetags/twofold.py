"""`{% load twofold %}`: Django's tag `cache`, once for all who miss a fragment together.

Its syntax is Django's: `{% cache seconds name value value … using="alias" %}…{% endcache %}`.
"""

from django.template import Library
from django.template.base import Parser, Token
from django.templatetags.cache import do_cache

from twofold.contrib.django.fragments import FragmentNode

register: Library = Library()


@register.tag("cache")
def cache(parser: Parser, token: Token) -> FragmentNode:
    """Keep what is between `cache` and `endcache` in a cache."""
    parsed = do_cache(parser, token)
    return FragmentNode(
        parsed.nodelist,
        parsed.expire_time_var,
        parsed.fragment_name,
        parsed.vary_on,
        parsed.cache_name,
    )
