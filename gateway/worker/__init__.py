"""Run the long-running process: which connectors it owns, and their polling and push streams."""
