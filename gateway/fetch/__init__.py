"""Get pages of records from a registry. Knows protocols, knows no Kafka."""

from gateway.fetch.stream import Page, Window, pages

__all__ = ["Page", "Window", "pages"]
