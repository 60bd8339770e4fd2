"""Seconds from counts: roofs, and calibrations fitted on measurements."""
