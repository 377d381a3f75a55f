"""A data set in a store comes in; the same data on this machine's disk go out, complete and verified, or tar shards of them."""
