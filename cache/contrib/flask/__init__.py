"""twofold in Flask (extra `flask`): settings, pages and fragments of an application.

caching = Caching()

def create_app():
    app = Flask(__name__)
    app.config["CACHES"] = {"default": {"BACKEND": "redis", "LOCATION": "redis://127.0.0.1"}}
    caching.init_app(app)
    return app

@blueprint.get("/prices")
@caching.cached_page(timeout="1m")
def prices(): ...

{% cache "sidebar", "10m", region %} ... {% endcache %}
"""

try:
    import flask as _flask  # noqa: F401
except ImportError as _exc:
    raise ImportError("twofold.contrib.flask needs pip install '.[flask]'") from _exc

from twofold.contrib.flask.extension import Caching

__all__ = ["Caching"]
