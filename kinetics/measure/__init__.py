"""Cases made real: prepared, proved, timed."""
