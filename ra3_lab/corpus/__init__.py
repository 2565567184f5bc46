"""Expert code: read as traces (`read`), or built from folders of Python (`build` and what it uses).

The builder's parts, in the order a file passes through them: `functions` cuts functions out, `licences` says whose they
are, `likeness` makes comparable numbers of them, `contamination` looks for benchmark problems, `store` remembers what
has been seen, `report` says what became of everything.
"""

from ra3_lab.corpus.read import Corpus, load_corpus, trace_of_code

__all__ = ["Corpus", "load_corpus", "trace_of_code"]
