"""Choosing among candidates, one algorithm per file; ``cost`` is the judge of all."""
