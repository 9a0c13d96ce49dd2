"""The partitioner: captures models, measures them, and chooses where to cut them."""
