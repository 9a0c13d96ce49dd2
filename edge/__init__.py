"""The device: runs the front of a model, talks to a worker, and answers."""
