"""A search from Python: own settings, an enqueued trial, the results as a table.

python examples/search_from_python.py
"""

import datg

found = datg.run_search(
    "glyphs",
    settings={"search.trials": 4, "training.iterations": 80, "training.eval_every": 20, "evaluation.test_tasks": 2000},
    enqueue=[{"strategy.clusters": 4}],
    notify=print,
)
trials = found.dataframe()
print(trials[["trial", "outcome", "validation", "test", "strategy.clusters", "strategy.mmd_weight"]])
print("best by validation:", found.best_config.strategy)
