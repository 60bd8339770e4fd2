"""The verbs of `kinetics`: each reads options, calls one room of the house, and prints."""
