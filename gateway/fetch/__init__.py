"""Get pages of records from a registry. Knows protocols, knows no Kafka."""

from gateway.fetch.stream_reader import RecordPage, TimeWindow, read_pages

__all__ = ["RecordPage", "TimeWindow", "read_pages"]
