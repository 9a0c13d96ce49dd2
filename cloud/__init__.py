"""The cloud: a worker that runs the segments it is asked for."""
