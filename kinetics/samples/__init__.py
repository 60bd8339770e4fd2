"""Problems, prompts, answers and their logs, and graders."""
