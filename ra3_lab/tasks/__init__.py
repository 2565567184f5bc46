"""Programming problems in one form, whatever benchmark they come from.

`protocol` has the form, `registry` the benchmarks by name, `records` the format of own tasks, `expected` what inputs
without results still lack. `humaneval`, `mbpp` and `contests` (with `testcases` and `packed`) read other people's
rows, `files` their files. `pipelines` and `skills` are the world of our own.
"""
