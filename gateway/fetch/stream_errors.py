"""Turn every error of reading a stream into one that says what the stream needs."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from gateway.config.expressions.compiler import (
    EvaluationError,
    ExpressionError,
    ExpressionLimitError,
)
from gateway.errors import GatewayError, StreamError, StreamHalted

log = structlog.get_logger()


@contextmanager
def reading_errors(where: str, *but: type[Exception]) -> Iterator[None]:
    """Raise :class:`~gateway.errors.StreamHalted` in place of any error but the gateway's own.

    Errors of the types ``but`` are raised as they are.

    An error in one stream then stops this stream, and not the worker. Its text may quote a payload,
    so only its type and its place are logged.
    """
    passed: tuple[type[Exception], ...] = (GatewayError, *but)
    try:
        yield
    except StreamError as error:
        if not str(error).startswith(where.partition(".")[0]):
            error.args = (f"{where}: {error}",)  # An error of a part that knows no stream.
        raise
    except passed:
        raise
    except ExpressionLimitError as error:
        raise StreamHalted("EXPRESSION_LIMIT", f"{where}: {error}") from None
    except EvaluationError as error:
        raise StreamHalted(
            "EXPRESSION",
            f"{where}: {error}; its replies changed, or the file is wrong; "
            "compare a reply with the connector file",
        ) from None
    except ExpressionError as error:
        reason = "EXPRESSION_LIMIT" if error.code == "expression-limit" else "EXPRESSION"
        raise StreamHalted(reason, f"{where}: {error}; `gateway check` shows the line") from None
    except Exception as error:  # noqa: BLE001 - stop the stream, not the worker
        log.warning("reply not processed", error=type(error).__name__, place=_place_of(error))
        raise StreamHalted(
            "UNEXPECTED",
            f"{where}: the gateway failed to process a reply ({type(error).__name__}); "
            "the log names the place, and the stream is tried again",
        ) from None


def _place_of(error: Exception) -> str:
    """Return the function and the line where an error occurred."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = next((frame for frame in reversed(frames) if "gateway" in frame.filename), frames[-1])
    return f"{Path(ours.filename).stem}.{ours.name}, line {ours.lineno}"
