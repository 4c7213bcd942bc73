"""Carry out requests of an operator: backfill, replay, renormalise, erase, verify, explain."""
