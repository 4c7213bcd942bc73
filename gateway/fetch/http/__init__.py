"""Send HTTP requests within the limits of a registry."""
