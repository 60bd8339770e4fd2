"""Graded samples from a model: what is asked for, who answers, and the run that fills the log."""
