"""Hold the diagnosis of one stream, and put it into words for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.observability.page_elements import duration, instant

MAX_DETAILS = 400
"""The longest text of a failure that is shown."""
MAX_FIELDS = 8
"""The fields of each kind that are named."""


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The cause of the state of one stream, and what to do. It contains no value of a record.

    ``since`` and ``read_up_to`` are Unix times.
    """

    connector: str
    stream: str
    state: str
    code: str
    meaning: str
    is_bad: bool
    details: str = ""
    """The failure in the words of the worker, in one line."""
    since: float | None = None
    read_up_to: float | None = None
    replies_compared: bool = False
    fields_gone: tuple[str, ...] = ()
    fields_new: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    """Sentences and commands, in their order. A command begins with ``gateway``."""
    loss: str = ""
    """What is lost until a person acts."""
    owner: str = ""
    """The owner of the registry, as the connector file names it."""
    runbook: str = ""
    """The name of the runbook."""
    remarks: tuple[str, ...] = ()


def headline(diagnosis: Diagnosis, names: str, now: float) -> str:
    """Return the state of the streams ``names`` and its time, in one line."""
    if diagnosis.since is None:
        return f"{names}: {diagnosis.state}"
    ago = duration(max(0.0, now - diagnosis.since))
    return f"{names}: {diagnosis.state} since {instant(diagnosis.since)} ({ago} ago)"


def paragraphs(diagnosis: Diagnosis, runbook: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the label and the lines of each part. ``runbook`` is the address of the runbook."""
    yield "Cause", (f"{diagnosis.meaning} ({diagnosis.code})",)
    details = diagnosis.details
    if details:
        yield "Details", (details[:MAX_DETAILS] + ("…" if len(details) > MAX_DETAILS else ""),)
    if diagnosis.is_bad and (changed := changed_fields(diagnosis)):
        yield "Changed", changed
    for remark in diagnosis.remarks:
        yield "Also", (remark,)
    if diagnosis.steps:
        yield "Do this", diagnosis.steps
    if diagnosis.loss:
        yield "If you wait", (diagnosis.loss,)
    if diagnosis.owner and diagnosis.is_bad:
        yield "Registry", (diagnosis.owner,)
    if runbook:
        yield "Runbook", (runbook,)


def changed_fields(diagnosis: Diagnosis) -> tuple[str, ...]:
    """Return which fields of the reply are gone or new."""
    if not diagnosis.replies_compared:
        return ()
    if not diagnosis.fields_gone and not diagnosis.fields_new:
        return ("The reply has the same fields as earlier good ones.",)
    named = (("gone", diagnosis.fields_gone), ("new", diagnosis.fields_new))
    return tuple(f"{word}: {_names(fields)}" for word, fields in named if fields)


def _names(fields: tuple[str, ...]) -> str:
    more = len(fields) - MAX_FIELDS
    return ", ".join(fields[:MAX_FIELDS]) + (f" and {more} more" if more > 0 else "")
