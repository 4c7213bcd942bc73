"""Read the values of the metrics registry at one moment."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

Stream = tuple[str, str]
"""The names of a connector and of one of its streams."""


class MetricReadings:
    """The values in a registry at one moment, by metric and label."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in registry.collect():
            if family.type == "gauge":
                self._samples[family.name] = _max_over_processes(family)
                continue
            for sample in family.samples:
                self._samples[sample.name].append((dict(sample.labels), sample.value))

    def sum_by(self, metric: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a metric by the values of ``labels``."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for sample_labels, value in self._samples[metric]:
            sums[tuple(sample_labels[label] for label in labels)] += value
        return dict(sums)

    def streams(self) -> list[Stream]:
        """Return each stream that a metric has as labels, in alphabetical order."""
        return sorted(
            {
                (labels["connector"], labels["stream"])
                for samples in self._samples.values()
                for labels, _ in samples
                if "stream" in labels
            }
        )


def _max_over_processes(family: Metric) -> list[tuple[dict[str, str], float]]:
    """Return the samples of a gauge without the label ``process``.

    The highest value of all processes counts, because states cannot be added up.
    """
    highest: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple(
            sorted((name, value) for name, value in sample.labels.items() if name != "process")
        )
        highest[labels] = max(sample.value, highest.get(labels, sample.value))
    return [(dict(labels), value) for labels, value in highest.items()]
