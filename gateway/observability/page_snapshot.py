"""Hold the facts of the status page that metrics do not contain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.observability.diagnosis import Diagnosis
from gateway.observability.metric_readings import Stream
from gateway.observability.unmapped_samples import UnmappedSample


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The facts that metrics do not contain. Each field may be empty."""

    release: str = ""
    stage: str = ""
    roles: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    """The title of each connector."""
    explains: bool = False
    """Whether the health server answers ``/explain``."""
    paused: frozenset[Stream] = frozenset()
    problems: Mapping[Stream, str] = field(default_factory=dict)
    """The last failure of each stream that fails now, in one line."""
    not_loaded: Mapping[str, str] = field(default_factory=dict)
    """The connectors whose file is not valid, each with one finding."""
    diagnoses: Callable[[], Sequence[Diagnosis]] = tuple
    """Returns what is wrong with each stream of this worker. Called only for the page of it."""
    unmapped: Callable[[], Sequence[UnmappedSample]] = tuple
    """Returns values that no table contains."""
    shows_values: bool = False
    """Whether the health server answers ``/unmapped``."""
    topics: tuple[str, ...] = ()
    """The topics that the health server shows to holders of the token."""
    runbooks: str = ""
    """The address of the folder of runbooks. Blank if there is none."""
    reloads: bool = False
    """Whether the health server reloads the page by itself."""
