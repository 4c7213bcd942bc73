"""Turn the bytes of a reply into records."""
