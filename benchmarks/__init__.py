"""How fast: one question a file, each in a process of its own. `make bench` asks them all.

Both sides get the same weights, ids, order and hyper-parameters, in fp32 on this machine. A side that does not give
the other's results is not timed. Rounds alternate; a ratio is the median over rounds, with the least and the largest.
"""
