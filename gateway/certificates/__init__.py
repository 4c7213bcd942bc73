"""Watch certificates, and use renewed ones without a restart."""
