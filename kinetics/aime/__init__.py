"""AIME: answers, graders, and traces."""
