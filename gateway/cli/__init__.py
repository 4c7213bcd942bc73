"""The `gateway` command: prints and exit codes, one module a group of commands."""
