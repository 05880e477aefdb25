"""Which thing it is: a small network that sees a thing cut out, and its weights. Training: training/identity.py."""
