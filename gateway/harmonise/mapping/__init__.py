"""Compile mapping rules and run them."""
