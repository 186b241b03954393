"""`cached_page`: an endpoint in, the same endpoint with a cache out."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import wraps
from inspect import Parameter, Signature
from typing import (
    Annotated,
    Any,
    Never,
    ParamSpec,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
    overload,
)
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from twofold.contrib.http import Given, Headers, ViewTags
from twofold.contrib.http import Response as HTTPResponse
from twofold.contrib.http.misplaced import has_pages
from twofold.contrib.starlette.application import name_of
from twofold.contrib.starlette.cached_view import CachedView
from twofold.contrib.starlette.messages import (
    RawFields,
    add_fields,
    response_of,
    starlette_response,
)
from twofold.contrib.starlette.operation import Operations
from twofold.contrib.starlette.raised import RAISED, error_of_page, page_of_error
from twofold.contrib.starlette.responder import Responder
from twofold.contrib.starlette.routes import DECORATED, IN_SCOPE
from twofold.errors import SettingsError
from twofold.spelling import unexpected
from twofold.tags.names import Tagging, read_tags
from twofold.timeouts import DEFAULT_TIMEOUT, Timeout, seconds

P = ParamSpec("P")
R = TypeVar("R")

Tags: TypeAlias = Iterable[str] | Callable[[Request, Response], Iterable[str]]
"""The tags of a page, or a function that tells them once its response is there."""

_GIVEN_REQUEST = "twofold_request"
_GIVEN_RESPONSE = "twofold_response"
"""The parameters by which FastAPI gives both to an endpoint that has none."""

_RESPONSE, _VALUE = "response", "value"
"""What an endpoint returned, of which a response was stored; or it raised: see `RAISED`.

Behind "value" stand the names of the fields of dependencies that the endpoint took away.
"""


class _Decorator:
    """Makes cached endpoints of async and sync ones."""

    def __init__(self, timeout: Timeout, vary: Iterable[str], public: bool, tags: Tags) -> None:
        seconds(timeout)
        self.tags: Tagging = read_tags(tags)
        self.timeout = timeout
        self.vary: set[str] = {vary} if isinstance(vary, str) else set(vary)
        self.public = public

    @overload
    def __call__(
        self, endpoint: Callable[P, Awaitable[R]]
    ) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...

    @overload
    def __call__(
        self, endpoint: Callable[P, R]
    ) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...

    def __call__(self, endpoint: Callable[..., Any]) -> Callable[..., Any]:
        has_pages(endpoint)
        _refuse_generator(endpoint)
        compute = _as_async(endpoint)
        page = _Page(endpoint, compute, self)
        signature = _evaluated(endpoint)
        own_response = _name_of(signature, Response) or _GIVEN_RESPONSE

        @wraps(endpoint)
        async def cached_endpoint(*args: Any, **kwargs: Any) -> Any:
            request = kwargs.pop(_GIVEN_REQUEST, None) or _among((*args, *kwargs.values()))
            given = kwargs.get(own_response)
            kwargs.pop(_GIVEN_RESPONSE, None)
            if request is None or not _leads_to(request, cached_endpoint):
                return await compute(*args, **kwargs)
            return await page.answer(request, given, args, kwargs)

        vars(cached_endpoint).update({"__signature__": _with_both(signature), DECORATED: True})
        return cached_endpoint


class _Page:
    """The page of one endpoint."""

    def __init__(
        self,
        endpoint: Callable[..., Any],
        compute: Callable[..., Awaitable[Any]],
        told: _Decorator,
    ) -> None:
        self._name = quote(name_of(endpoint))
        self._compute = compute
        self._told = told
        self._tags = ViewTags(endpoint, name_of(endpoint), told.tags, closed=False)
        self._operations = Operations()

    async def answer(
        self,
        request: Request,
        given: Response | None,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Return the stored response, or what the endpoint returns, to be stored in the end.

        Args:
            request: for which the framework calls the endpoint.
            given: the response on which dependencies and endpoint set fields, in FastAPI.
            args: what the framework gives to the endpoint, as `kwargs`.
            kwargs: see there.
        """
        view = self._responder(request).cached_view(request.scope, self._name)
        if view is None:
            return await self._compute(*args, **kwargs)
        by_dependencies = [] if given is None else given.headers.raw.copy()
        tags = self._tags_of(view, request, args, kwargs)
        stored = await view.open(self._told.timeout, tags)
        if stored is not None:
            return self._replay(view, stored, by_dependencies)
        try:
            returned = await self._compute(*args, **kwargs)
        except HTTPException as error:
            self._take_error(view, error)
            raise
        if isinstance(returned, Response):
            return await self._take(view, returned, _RESPONSE)
        if given is None:
            return returned
        since = [each for each in given.headers.raw if each not in by_dependencies]
        response = await self._operations.respond(request, returned, given.status_code, since)
        return await self._take_value(view, response, given.headers.raw, by_dependencies)

    def _tags_of(
        self,
        view: CachedView,
        request: Request,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Given:
        """Return the tags of the page, or what tells them when the endpoint has made it."""
        function = self._tags.function
        if function is None:
            return self._tags.names(args, kwargs, request.path_params)
        return lambda: function(request, _in_lower_case(starlette_response(view.made)))

    def _replay(
        self, view: CachedView, stored: HTTPResponse, by_dependencies: RawFields
    ) -> Response:
        """Return a stored response, or raise a stored exception."""
        if view.kind in RAISED:
            raise error_of_page(stored, view.kind)
        response = starlette_response(stored)
        kind, *removed = view.kind.encode("latin-1").split(b" ")
        if kind != _VALUE.encode():
            return response
        return add_fields(response, [each for each in by_dependencies if each[0] not in removed])

    async def _take(self, view: CachedView, response: Response, kind: str) -> Response:
        headers = view.describe(Headers(response.raw_headers), self._told.vary, self._told.public)
        response.raw_headers[:] = headers.pairs
        view.take(await response_of(response), kind)
        return response

    async def _take_value(
        self, view: CachedView, response: Response, fields: RawFields, by_dependencies: RawFields
    ) -> Response:
        left = {name for name, _ in fields}
        removed = {name.decode("latin-1") for name, _ in by_dependencies if name not in left}
        await self._take(view, response, " ".join([_VALUE, *sorted(removed)]))
        return add_fields(response, [each for each in by_dependencies if each in fields])

    def _take_error(self, view: CachedView, error: HTTPException) -> None:
        page = page_of_error(error)
        headers = Headers() if page is None else page.headers
        headers = view.describe(headers, self._told.vary, self._told.public)
        if page is not None:
            view.take(page._replace(headers=headers), type(error).__module__)

    def _responder(self, request: Request) -> Responder:
        responder = request.scope.get(IN_SCOPE)
        if not isinstance(responder, Responder):
            raise SettingsError(
                f"{self._name} is decorated by cached_page, and there is no"
                " CacheMiddleware to store its responses: app.add_middleware(CacheMiddleware)"
            )
        return responder


@overload
def cached_page(
    endpoint: Callable[P, Awaitable[R]], /
) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...


@overload
def cached_page(endpoint: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...


@overload
def cached_page(
    *,
    timeout: Timeout = DEFAULT_TIMEOUT,
    vary: Iterable[str] = (),
    public: bool = False,
    tags: Tags = (),
) -> _Decorator: ...


def cached_page(
    endpoint: Callable[..., Any] | None = None,
    /,
    *,
    timeout: Timeout = DEFAULT_TIMEOUT,
    vary: Iterable[str] = (),
    public: bool = False,
    tags: Tags = (),
    **others: Never,
) -> Any:
    """Cache the responses of an endpoint, a `def` or an `async def`, by `CacheMiddleware`.

    A stored response is the answer to a request for the same URL, and with the same values
    of the fields that it varies with. What the endpoint depends on is resolved first, at
    each request, so that a dependency may refuse it; of its values none is in the key.

    Args:
        endpoint: of Starlette or FastAPI; its signature stays.
        timeout: how long a response lives that does not set a lifetime itself.
        vary: names of request fields that the response depends on, added to its `Vary`.
        public: add `public` to its `Cache-Control`: it is the same for all, whatever
            cookies or `Authorization` they send.
        tags: what responses can be invalidated by, with `invalidate_tags`: names, with fields for
            parameters of the endpoint and of the path, as in "user:{user_id}"; or a function of
            the request and the response that returns names.
        **others: names that other libraries have for these, which are refused with ours.

    Raises:
        SettingsError: the endpoint is a generator; or, when called, there is no middleware, or
            a field of a tag names nothing.
        InvalidTimeout: `timeout` is no duration.
        InvalidKey: `tags` are no texts.
    """
    if others:
        raise unexpected(cached_page, others)
    decorate = _Decorator(timeout, vary, public, tags)
    return decorate if endpoint is None else decorate(endpoint)


def _in_lower_case(response: Response) -> Response:
    """Return a response whose `headers` find what an exception was given in other letters."""
    response.raw_headers = [(name.lower(), value) for name, value in response.raw_headers]
    return response


def _refuse_generator(endpoint: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
        raise SettingsError(
            f"{endpoint.__qualname__} yields, so its response is a stream, and streams are not"
            " stored: leave cached_page out"
        )


def _as_async(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return what calls an endpoint, in a worker thread if that is a `def`."""
    if inspect.iscoroutinefunction(endpoint):
        return endpoint

    async def compute(*args: Any, **kwargs: Any) -> Any:
        return await run_in_threadpool(endpoint, *args, **kwargs)

    return compute


def _leads_to(request: Request, function: Callable[..., Any]) -> bool:
    """Tell whether the framework chose `function`, or what decorates it, for a request.

    Else an endpoint, or a dependency, of another route calls it for what it returns.
    """
    endpoint: Any = request.scope.get("endpoint")
    if isinstance(endpoint, type):
        method = "get" if request.method == "HEAD" else request.method.lower()
        endpoint = getattr(endpoint, method, None)
    while endpoint is not None and endpoint is not function:
        within = getattr(endpoint, "__func__", None) or getattr(endpoint, "func", None)
        endpoint = within or getattr(endpoint, "__wrapped__", None)
    return endpoint is function


def _among(values: Iterable[Any]) -> Request | None:
    return next((each for each in values if isinstance(each, Request)), None)


def _with_both(signature: Signature) -> Signature:
    """Return a signature that has parameters for the request, and for FastAPI's response to it."""
    parameters = list(signature.parameters.values())
    last = len(parameters)
    if parameters and parameters[-1].kind is Parameter.VAR_KEYWORD:
        last -= 1
    given = [
        Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind)
        for name, kind in ((_GIVEN_REQUEST, Request), (_GIVEN_RESPONSE, Response))
        if _name_of(signature, kind) is None
    ]
    return signature.replace(parameters=[*parameters[:last], *given, *parameters[last:]])


def _evaluated(endpoint: Callable[..., Any]) -> Signature:
    """Return the signature with annotations that are text evaluated, where they can be.

    FastAPI would look for their names in this module, up to some version.
    """
    try:
        return inspect.signature(endpoint, eval_str=True)
    except Exception:  # an annotation may be any expression; FastAPI will say what it lacks
        return inspect.signature(endpoint)


def _name_of(signature: Signature, kind: type) -> str | None:
    """Return the name of the parameter by which the framework gives a request or a response."""
    parameters = signature.parameters.values()
    return next((each.name for each in parameters if _is_given(each, kind)), None)


def _is_given(parameter: Parameter, kind: type) -> bool:
    annotation, noted = parameter.annotation, [parameter.default]
    if get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        noted += more
    is_kind = isinstance(annotation, type) and issubclass(annotation, kind)
    return is_kind and not any(hasattr(each, "dependency") for each in noted)
