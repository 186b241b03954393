"""`cached_page`: an endpoint in, the same endpoint with a cache out."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import wraps
from inspect import Parameter, Signature
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_origin, overload

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from twofold.contrib.starlette.messages import starlette_response
from twofold.contrib.starlette.responder import IN_SCOPE, Responder
from twofold.errors import SettingsError
from twofold.policy import DEFAULT_TIMEOUT, Timeout, seconds

P = ParamSpec("P")
R = TypeVar("R")

_GIVEN_REQUEST = "twofold_request"
"""The parameter by which FastAPI gives the request to an endpoint that has none."""


class _Decorator:
    """Makes cached endpoints of async and sync ones."""

    def __init__(self, timeout: Timeout, vary: Iterable[str], public: bool) -> None:
        seconds(timeout)
        self._timeout = timeout
        self._vary = {vary} if isinstance(vary, str) else set(vary)
        self._public = public

    @overload
    def __call__(
        self, endpoint: Callable[P, Awaitable[R]]
    ) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...

    @overload
    def __call__(
        self, endpoint: Callable[P, R]
    ) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...

    def __call__(self, endpoint: Callable[..., Any]) -> Callable[..., Any]:
        _refuse_generator(endpoint)
        is_async = inspect.iscoroutinefunction(endpoint)

        @wraps(endpoint)
        async def cached_endpoint(*args: Any, **kwargs: Any) -> Any:
            request = kwargs.pop(_GIVEN_REQUEST, None) or _request_among((*args, *kwargs.values()))
            answer = None if request is None else await self._open(request, endpoint)
            if answer is not None:
                return answer
            if is_async:
                return await endpoint(*args, **kwargs)
            return await run_in_threadpool(endpoint, *args, **kwargs)

        vars(cached_endpoint)["__signature__"] = _with_request(endpoint)
        return cached_endpoint

    async def _open(self, request: Request, endpoint: Callable[..., Any]) -> Response | None:
        """Return the stored response; without one, have this request's be stored."""
        responder = request.scope.get(IN_SCOPE)
        if not isinstance(responder, Responder):
            raise SettingsError(
                f"{endpoint.__qualname__} is decorated by cached_page, and there is no"
                " CacheMiddleware to store its responses: app.add_middleware(CacheMiddleware)"
            )
        responder.declare(self._vary, self._public)
        answer = await responder.open(request.scope, self._timeout, "endpoint")
        return None if answer is None else starlette_response(answer)


@overload
def cached_page(
    endpoint: Callable[P, Awaitable[R]], /
) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...


@overload
def cached_page(endpoint: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R | Response]]: ...


@overload
def cached_page(
    *, timeout: Timeout = DEFAULT_TIMEOUT, vary: Iterable[str] = (), public: bool = False
) -> _Decorator: ...


def cached_page(
    endpoint: Callable[..., Any] | None = None,
    /,
    *,
    timeout: Timeout = DEFAULT_TIMEOUT,
    vary: Iterable[str] = (),
    public: bool = False,
) -> Any:
    """Cache the responses of an endpoint, a `def` or an `async def`, by `CacheMiddleware`.

    A stored response is the answer to a request for the same URL, and with the same values
    of the fields that it varies with. What the endpoint depends on is resolved first, at
    each request, so that a dependency may refuse it; of its values none is in the key.

    Args:
        endpoint: of Starlette or FastAPI; its signature stays.
        timeout: how long a response lives that does not say so itself.
        vary: names of request fields that the response depends on, added to its `Vary`.
        public: add `public` to its `Cache-Control`: it is the same for all, whatever
            cookies or `Authorization` they send.

    Raises:
        SettingsError: the endpoint is a generator; or, when called, there is no middleware.
        InvalidTimeout: `timeout` is no duration.
    """
    decorate = _Decorator(timeout, vary, public)
    return decorate if endpoint is None else decorate(endpoint)


def _refuse_generator(endpoint: Callable[..., Any]) -> None:
    if inspect.isgeneratorfunction(endpoint) or inspect.isasyncgenfunction(endpoint):
        raise SettingsError(
            f"{endpoint.__qualname__} yields, so its response is a stream, and streams are not"
            " stored: leave cached_page out"
        )


def _request_among(values: Iterable[Any]) -> Request | None:
    return next((each for each in values if isinstance(each, Request)), None)


def _with_request(endpoint: Callable[..., Any]) -> Signature:
    """Return the signature of `endpoint`, with a parameter for the request if it has none."""
    signature = _evaluated(endpoint)
    parameters = list(signature.parameters.values())
    if any(_is_request(each) for each in parameters):
        return signature
    given = Parameter(_GIVEN_REQUEST, Parameter.KEYWORD_ONLY, annotation=Request)
    last = len(parameters)
    if parameters and parameters[-1].kind is Parameter.VAR_KEYWORD:
        last -= 1
    return signature.replace(parameters=[*parameters[:last], given, *parameters[last:]])


def _evaluated(endpoint: Callable[..., Any]) -> Signature:
    """Return the signature with annotations that are text evaluated, where they can be.

    FastAPI would look for their names in this module, up to some version.
    """
    try:
        return inspect.signature(endpoint, eval_str=True)
    except Exception:  # an annotation may be any expression; FastAPI will say what it lacks
        return inspect.signature(endpoint)


def _is_request(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return isinstance(annotation, type) and issubclass(annotation, Request)
