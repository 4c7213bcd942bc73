"""Harmonised record to wire documents: pure and byte-stable."""
