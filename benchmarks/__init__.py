"""Speed: one question in each file, each in a process of its own. `make bench` runs them all.

Both sides get the same weights, ids, order and hyper-parameters, in fp32 on this machine. If their results differ,
nothing is timed. Rounds alternate; a ratio is the median over the rounds, with the smallest and the largest.
"""
