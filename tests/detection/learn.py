#!/usr/bin/env python3
"""Learns how the signs of a climb are weighed: learn.py WEIGHTS SIGNS[*FACTOR]...

Each SIGNS is what `detection --signs` prints. WEIGHTS (crates/agent/src/verdict/climb/weights.txt) is written in the form that
weights.rs reads. Needs lightgbm, numpy and pandas. A trace counts once, or FACTOR times, whatever it shows how often; of a
leak mostly what is seen late in the time allowed, since nobody is late who tells it then, and little can be known before.
"""

import sys

import lightgbm
import numpy as np
import pandas as pd

ABOUT = ["trace", "kind", "onset", "deadline", "class", "seconds", "window"]
# Which series (history::Series) shows a leak of which class; RSS stands in where there is nothing else.
SERIES = {"climbing": (0, 3), "fragmenting": (1,), "climbing_outside_allocator": (2,)}
# Of a trace no more rises than this count, taken at random, climbs and others apart.
RISES_MAX = 600
# What a rise of a leak counts, up to which share of the time allowed.
COUNTS = ((0.45, 0.05), (0.60, 0.2), (0.75, 0.7), (1.0, 1.0), (np.inf, 0.3))
TREES = 600
PARAMETERS = dict(
    objective="binary",
    learning_rate=0.07,
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


def read(argument):
    """The signs, what they mean and what each counts, of one file."""
    path, _, factor = argument.partition("*")
    table = pd.read_csv(path, dtype={"trace": str, "kind": str, "class": str}, low_memory=False)
    names = [name for name in table.columns if name not in ABOUT]
    about = table[ABOUT].assign(series=table["series"])
    return thinned(names, table[names].to_numpy(np.float32), about, float(factor or 1))


def thinned(names, signs, about, factor):
    about = about.assign(place=np.arange(len(about)), climbs=labels(about))
    about = about[about["window"] > 0].sample(frac=1, random_state=1)
    about = about[about.groupby(["trace", "climbs"]).cumcount() < RISES_MAX].sort_values("place")
    return names, signs[about["place"]], about["climbs"].to_numpy(), factor * counts(about)


def labels(about):
    leaks = about["class"].notna() & (about["seconds"] >= about["onset"])
    own = [series in SERIES.get(name, ()) for series, name in zip(about["series"], about["class"])]
    return leaks & np.array(own)


def counts(about):
    gone = (about["seconds"] - about["onset"]) / (about["deadline"] - about["onset"])
    ends, values = zip(*COUNTS)
    late = np.array(values)[np.searchsorted(ends, gone.fillna(1.0))]
    count = pd.Series(np.where(about["climbs"], late, 1.0), about.index)
    return (1000 * count / count.groupby([about["trace"], about["climbs"]]).transform("sum")).to_numpy()


def text(node, names):
    if "leaf_value" in node:
        return "=%.4g" % node["leaf_value"]
    split = "%s<%.7g" % (names[node["split_feature"]], node["threshold"])
    return " ".join([split, text(node["left_child"], names), text(node["right_child"], names)])


def learn(weights, tables):
    names, signs, climbs, counts_ = zip(*tables)
    data = lightgbm.Dataset(np.concatenate(signs), np.concatenate(climbs), weight=np.concatenate(counts_))
    trees = lightgbm.train(PARAMETERS, data, TREES).dump_model()["tree_info"]
    with open(weights, "w") as file:
        file.writelines(text(tree["tree_structure"], names[0]) + "\n" for tree in trees)


if __name__ == "__main__":
    learn(sys.argv[1], [read(argument) for argument in sys.argv[2:]])
