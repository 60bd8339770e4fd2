"""Whole decode steps: which are measured, what they should take, and how they are made, proved and timed."""
