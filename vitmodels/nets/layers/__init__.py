"""The layers both models are built from, one idea a file.

Activations are kept two-dimensional, `(rows, channels)` with one row a token, wherever no other shape is
needed: dense layers then are one matrix product each, and LayerNorm works along the last axis anyway.
"""
