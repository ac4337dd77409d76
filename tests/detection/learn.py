#!/usr/bin/env python3
"""Learns how the signs of a climb are weighed: learn.py WEIGHTS SIGNS...

Each SIGNS is what `detection --signs` prints. WEIGHTS (crates/agent/src/verdict/climb/weights.txt) is written in the form that
weights.rs reads. Needs lightgbm, numpy and pandas. A trace counts once, whatever it shows how often; of a leak mostly what
is seen between 45% of the time allowed and its end.
"""

import sys

import lightgbm
import numpy as np
import pandas as pd

ABOUT = ["trace", "kind", "onset", "deadline", "class", "seconds", "window"]
# Which series (history::Series) shows a leak of which class; RSS stands in where there is nothing else.
SERIES = {"climbing": (0, 3), "fragmenting": (1,), "climbing_outside_allocator": (2,)}
TREES = 400
PARAMETERS = dict(
    objective="binary",
    learning_rate=0.09,
    num_leaves=16,
    max_depth=6,
    min_data_in_leaf=300,
    feature_fraction=0.4,
    bagging_fraction=0.7,
    bagging_freq=1,
    lambda_l2=5,
    use_missing=False,
    seed=1,
    num_threads=2,
    verbose=-1,
)


def read(paths):
    tables = []
    for path in paths:
        table = pd.read_csv(path, dtype={"trace": str, "kind": str, "class": str}, low_memory=False)
        table["trace"] = path + ":" + table["trace"]
        tables.append(table[table["window"] > 0])
    return pd.concat(tables, ignore_index=True)


def labels(table):
    leaks = table["class"].notna() & (table["seconds"] >= table["onset"])
    own = [series in SERIES.get(name, ()) for series, name in zip(table["series"], table["class"])]
    return leaks.to_numpy() & np.array(own)


def counts(table, climbs):
    gone = ((table["seconds"] - table["onset"]) / (table["deadline"] - table["onset"])).to_numpy()
    count = np.ones(len(table))
    count[climbs & (gone > 1.0)] = 0.3
    count[climbs & (gone < 0.45)] = 0.15
    count /= pd.Series(count).groupby([table["trace"].to_numpy(), climbs]).transform("sum").to_numpy()
    return 1000 * count


def text(node, names):
    if "leaf_value" in node:
        return "=%.4g" % node["leaf_value"]
    split = "%s<%.7g" % (names[node["split_feature"]], node["threshold"])
    return " ".join([split, text(node["left_child"], names), text(node["right_child"], names)])


def main(weights, *paths):
    table = read(paths)
    names = [name for name in table.columns if name not in ABOUT]
    climbs = labels(table)
    data = lightgbm.Dataset(table[names].to_numpy(np.float32), climbs, weight=counts(table, climbs))
    trees = lightgbm.train(PARAMETERS, data, TREES).dump_model()["tree_info"]
    with open(weights, "w") as file:
        file.writelines(text(tree["tree_structure"], names) + "\n" for tree in trees)


main(*sys.argv[1:])
