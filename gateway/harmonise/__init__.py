"""Raw record to harmonised record: pure, total, explained."""
