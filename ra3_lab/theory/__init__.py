"""The theory of RA3, made measurable: small worlds in which every quantity is exact. numpy only, float64.

Read in this order:

- `closed_forms`: the formulas, each with a number to check by hand.
- `mdp`, `solve`: tasks, options of random duration, exact planning over any set of them.
- `worlds`, `programs`: two families of tasks, four rooms and programs made of skills.
- `regret`: theorem 1, regret = pruning error + RL error.
- `pruning`: theorem 2, how many expert tasks it takes to find out which actions to keep.
"""
