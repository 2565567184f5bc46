"""The theory of RA3, made measurable: small worlds in which every quantity is exact. numpy only, float64.

Read in this order; what ends in `_lab` returns a record (plain data) that `ra3_lab.explore.theory` draws and tells.

- `closed_forms`: the formulas, each with a number to check by hand.
- `mdp`, `solve`: tasks, options of random duration, exact planning over any set of them.
- `worlds`, `programs`: two families of tasks, four rooms and programs made of skills.
- `regret.regret_lab`: theorem 1, regret = pruning error + RL error.
- `pruning.pruning_lab`: theorem 2, how many expert tasks it takes to find out which actions to keep.
- `durations`, `learners`, `horizon.horizon_lab`: theorem 3, longer options need fewer sweeps.
- `oracle`, `enumeration`: a hidden semi-Markov world with its evidence, posterior, temporal ELBO and exact EM.
- `estep`: causal posteriors, and RA3's sampled E-step beside its exact gradient.
- `oracle_labs`: `posterior_lab`, `price_lab`, `gradient_lab`, `em_lab`.
"""
