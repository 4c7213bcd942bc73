"""Read pages of records from a registry. This package knows protocols and no Kafka."""

from gateway.fetch.read_position import TimeWindow
from gateway.fetch.stream_reader import RecordPage, read_pages

__all__ = ["RecordPage", "TimeWindow", "read_pages"]
