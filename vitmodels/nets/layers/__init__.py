"""The layers of both nets, one idea a file; they compute with MindSpore's operators.

Activations are kept two-dimensional, `(rows, channels)` with one row a token, wherever no other shape is
needed: dense layers then are one matrix product each, and LayerNorm works along the last axis anyway.
"""
