"""Define the topics and the format of every message. Pure."""
