"""The scaling law: from published curves or graded samples to tables, figures and a verdict on each claim."""
