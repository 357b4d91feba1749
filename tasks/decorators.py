"""`flow` and `task`: what they decorate runs with Prefect, or as plain Python where `LazyFlow.plain` calls it.

The steps of a flow are written once. Called as usual, a flow and its tasks are Prefect's: recorded, retried, shown in
the UI. Through `plain` the same functions call each other directly: no server, no retries, and Prefect is not even
imported, so that a notebook or a script can use them as it would any library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from functools import cached_property, update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

from darkroom.tasks.names import naming

P = ParamSpec("P")
R = TypeVar("R")

# Set while `LazyFlow.plain` runs. A thread that works for it gets a copy of the context (window.py).
_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)


def is_plain() -> bool:
    """Whether the current steps are plain calls, without Prefect."""
    return _PLAIN.get()


def run_id() -> str | None:
    """The ID of the Prefect flow run; None outside one."""
    if is_plain():
        return None
    from prefect.runtime import flow_run

    found: str | None = flow_run.get_id()
    return found


def log_to_prefect() -> None:
    """Let this process log all that Prefect shows of a run: a logger with no level of its own logs warnings alone."""
    logger = logging.getLogger("darkroom")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


class LazyTask(Generic[P, R]):
    """A function that is a Prefect task, except in a plain run.

    Args:
        fn: The function.
        options: Of Prefect's `task`.
    """

    def __init__(self, fn: Callable[P, R], options: dict[str, Any]) -> None:
        self.fn = fn
        self._options = options
        update_wrapper(self, fn)

    @cached_property
    def prefect(self) -> Any:
        """Prefect's task. It caches nothing: whether work is done is read from the cards on disk."""
        import prefect
        from prefect.cache_policies import NO_CACHE

        named = {"task_run_name": self.fn.__name__.replace("_", " ")} | self._options
        decorate: Any = prefect.task(cache_policy=NO_CACHE, **named)
        return decorate(self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        call: Callable[P, R] = self.fn if is_plain() else self.prefect
        return call(*args, **kwargs)


class LazyFlow(Generic[P, R]):
    """A function that is a Prefect flow, except through `plain` and within a plain run.

    Args:
        fn: The function.
        options: Of Prefect's `flow`.
    """

    def __init__(self, fn: Callable[P, R], options: dict[str, Any]) -> None:
        self.fn = fn
        self._options = options
        update_wrapper(self, fn)

    @cached_property
    def prefect(self) -> Any:
        """Prefect's flow; from now on this process gives Darkroom's log lines to Prefect, warnings and others."""
        import prefect

        log_to_prefect()
        options = dict(self._options)
        if "flow_run_name" in options:
            options["flow_run_name"] = naming(options["flow_run_name"])
        decorate: Any = prefect.flow(**options)
        return decorate(self.fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        call: Callable[P, R] = self.fn if is_plain() else self.prefect
        return call(*args, **kwargs)

    def plain(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, and the flows and tasks that it calls, without Prefect."""
        before = _PLAIN.set(True)
        try:
            return self.fn(*args, **kwargs)
        finally:
            _PLAIN.reset(before)


def task(**options: Any) -> Callable[[Callable[P, R]], LazyTask[P, R]]:
    """Make a function a task; `options` are those of Prefect's `task`."""
    return lambda fn: LazyTask(fn, options)


def flow(**options: Any) -> Callable[[Callable[P, R]], LazyFlow[P, R]]:
    """Make a function a flow; `options` are those of Prefect's `flow`, and `flow_run_name` is as in names.py."""
    return lambda fn: LazyFlow(fn, options)
