"""`{% load twofold %}`: Django's tag `cache`, once for all who miss a fragment together.

Its syntax is Django's, and options such as `stale="1h"` may follow:
`{% cache seconds name value value … using="alias" stale="1h" %}…{% endcache %}`.
"""

from django.template import Library, TemplateSyntaxError
from django.template.base import FilterExpression, Parser, Token, kwarg_re
from django.templatetags.cache import do_cache

from twofold.contrib.django.fragments import FragmentNode
from twofold.freshness.options import OF_FRAGMENTS
from twofold.spelling import unknown

register: Library = Library()


@register.tag("cache")
def cache(parser: Parser, token: Token) -> FragmentNode:
    """Keep what is between `cache` and `endcache` in a cache."""
    plain, freshness = _split(parser, token)
    parsed = do_cache(parser, plain)
    node = FragmentNode(
        parsed.nodelist,
        parsed.expire_time_var,
        parsed.fragment_name,
        parsed.vary_on,
        parsed.cache_name,
    )
    node.freshness = freshness
    return node


def _split(parser: Parser, token: Token) -> tuple[Token, dict[str, FilterExpression]]:
    """Return the tag as Django reads it, and what is not Django's."""
    plain, using, freshness = [], [], dict[str, FilterExpression]()
    for bit in token.split_contents():
        match = kwarg_re.fullmatch(bit)
        name = match and match[1]
        if not (match and name):
            plain.append(bit)
        elif name == "using":
            using.append(bit)
        elif name not in OF_FRAGMENTS:
            names = ("using", *OF_FRAGMENTS)
            raise TemplateSyntaxError(unknown("option of the tag 'cache'", name, names))
        elif name in freshness:
            raise TemplateSyntaxError(f"the tag 'cache' is given {name} twice")
        else:
            freshness[name] = parser.compile_filter(match[2])
    return Token(token.token_type, " ".join(plain + using), token.position, token.lineno), freshness
