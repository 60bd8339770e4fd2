"""The miniature family: a synthetic contest and three tiny models that solve it, to check the pipeline end to end."""
