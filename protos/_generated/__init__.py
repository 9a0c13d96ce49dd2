"""Made by ``python -m protos.build`` from the ``.proto`` files; do not edit."""
