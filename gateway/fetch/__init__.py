"""Get pages of records from a registry. Knows protocols, knows no Kafka."""

from gateway.fetch.stream_reader import Page, Window, pages

__all__ = ["Page", "Window", "pages"]
