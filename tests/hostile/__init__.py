"""Programs for the sandbox's tests, by category: text, never imported as code.

`attacks.py`: programs that must earn nothing. `honest.py`: programs that must earn 1.
"""
