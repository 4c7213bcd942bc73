"""Expose metrics, logs, traces, health and the status page."""
