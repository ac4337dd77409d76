#!/usr/bin/env python3
"""Traces of RSS, labelled with the alerts that they must and must not raise, as test files for promtool.

Usage: shapes.py RULES_DIR OUT_DIR writes shapes-minutes.yml and shapes-days.yml (JSON, which is YAML) into OUT_DIR.
The same bytes come out every time: noise is seeded by the trace's name.
"""
import json
import math
import pathlib
import random
import sys

MIB = 1 << 20
HOUR = 3600
DAY = 24 * HOUR


def wave(t, low, high, period=DAY):
    """A sine that starts at its lowest, as traffic does at night."""
    return (low + high) / 2 - (high - low) / 2 * math.cos(2 * math.pi * t / period)


def fill(t, low, high, tau):
    """A cache or a warm-up: fast at first, then ever slower."""
    return high - (high - low) * math.exp(-t / tau)


def week(t):
    """Two days of the week are quiet."""
    return wave(t, 100, 180) if t // DAY % 7 in (0, 1) else wave(t, 100, 400)


def wander(name, step):
    """Mean-reverting noise with a memory of about an hour, 200 ± 20 MiB."""
    rng = random.Random(name)
    keep = math.exp(-step / HOUR)
    value = 0.0

    def at(_age, _time):
        nonlocal value
        value = keep * value + math.sqrt(1 - keep * keep) * rng.gauss(0, 1)
        return 200 + 20 * value

    return at


# Each trace: name, hours, RSS in MiB by age of the life and by time, life in seconds, alerts that must have fired by the end.
# An empty set: nothing fires in the whole trace.
TRACES = {
    "minutes": [
        ("rocket_from_start", 2, lambda a, t: 50 + 27 * a / 60, None, {"ProcessMemoryRocket"}),
        ("rocket_later", 6, lambda a, t: 200 + max(0, t - 5 * HOUR) * 4 / 60, None, {"ProcessMemoryRocket"}),
        ("rocket_missed_scrapes", 3, lambda a, t: 50 + 27 * a / 60, None, {"ProcessMemoryRocket"}),
        ("agent_embedded", 2, lambda a, t: 50 + 27 * a / 60, None, set()),
        ("warm_up_10_min", 4, lambda a, t: fill(a, 50, 800, 600), None, set()),
        ("warm_up_1_h", 12, lambda a, t: fill(a, 50, 800, HOUR), None, set()),
        ("cache_filled_in_half_an_hour", 12, lambda a, t: min(50 + a / 60 * 20, 650), None, set()),
    ],
    "days": [
        ("steady_8_mib_an_hour", 40, lambda a, t: 200 + 8 * a / HOUR, None, {"ProcessMemoryClimbing"}),
        ("steady_from_the_second_day", 44, lambda a, t: 200 + max(0, t - 26 * HOUR) * 12 / HOUR, None, {"ProcessMemoryClimbing"}),
        ("restarting_every_5_h", 36, lambda a, t: 100 + fill(a, 0, 50, 300) + 40 * a / HOUR, 5 * HOUR, {"ProcessMemoryRestarting"}),
        ("restarting_every_8_h", 48, lambda a, t: 300 + 25 * a / HOUR, 8 * HOUR, {"ProcessMemoryRestarting"}),
        ("flat_noise", 40, lambda a, t: 200, None, set()),
        ("flat_missed_scrapes", 40, lambda a, t: 200, None, set()),
        ("sawtooth_30_min", 40, lambda a, t: 100 + 300 * (t % 1800) / 1800, None, set()),
        ("sawtooth_3_h", 40, lambda a, t: 100 + 300 * (t % (3 * HOUR)) / (3 * HOUR), None, set()),
        ("steps", 40, lambda a, t: 150 + 100 * (t > 10 * HOUR) + 150 * (t > 33 * HOUR), None, set()),
        ("burst_retained", 40, lambda a, t: 150 + 500 * (33 * HOUR < t) - 100 * (t > 34 * HOUR), None, set()),
        ("deploys_with_warm_up", 48, lambda a, t: fill(a, 80, 300, 600), 5 * HOUR, set()),
        ("deploys_under_a_daily_wave", 48, lambda a, t: wave(t, 150, 300) - 40 * math.exp(-a / 600), 9 * HOUR, set()),
        ("creeping_6_percent_a_day", 6 * 24, lambda a, t: 200 + 12 * a / DAY, None, {"ProcessMemoryCreeping"}),
        ("creeping_under_a_daily_wave", 6 * 24, lambda a, t: wave(t, 150, 300) + 12 * a / DAY, None, {"ProcessMemoryCreeping"}),
        ("creeping_missed_scrapes", 6 * 24, lambda a, t: 200 + 14 * a / DAY, None, {"ProcessMemoryCreeping"}),
        ("daily_wave", 6 * 24, lambda a, t: wave(t, 100, 400), None, set()),
        ("weekly_wave_after_its_first_week", 13 * 24, lambda a, t: week(t + 2 * DAY), None, set()),
        ("nightly_batch", 6 * 24, lambda a, t: 150 + 400 * (t % DAY > 22 * HOUR), None, set()),
        ("sawtooth_30_h", 8 * 24, lambda a, t: 200 + 40 * (t % (30 * HOUR)) / (30 * HOUR), None, set()),
        ("one_step_a_deploy", 8 * 24, lambda a, t: 150 + 60 * (t > 3.5 * DAY), 3.5 * DAY, set()),
        ("warm_up_6_h", 6 * 24, lambda a, t: fill(a, 200, 300, 6 * HOUR), None, set()),
        ("wandering", 8 * 24, wander("wandering", 300), None, set()),
    ],
}
STEP_SECONDS = {"minutes": 60, "days": 300}


def series(name, hours, shape, life, step):
    rng = random.Random(name)
    rss, start = [], []
    for t in range(0, int(hours * HOUR), step):
        age = t % life if life else t
        value = shape(age, t) * MIB * (1 + rng.gauss(0, 0.005))
        # One scrape in ten, and a whole hour in the middle.
        missed = name.endswith("missed_scrapes") and (rng.random() < 0.1 or 0 <= t - hours * HOUR / 2 < HOUR and hours > 12)
        rss.append("_" if missed else str(int(value)))
        start.append("_" if missed else str(int(t - age)))
    return rss, start


def inputs(trace, step):
    name, hours, shape, life, _ = trace
    rss, start = series(name, hours, shape, life, step)
    metrics = {"process_resident_memory_bytes": rss, "process_start_time_seconds": start}
    if name == "agent_embedded":
        metrics["heapline_build_info"] = ["1"] * len(rss)
    return [
        {"series": f'{metric}{{job="{name}",instance="a:9100"}}', "values": " ".join(values)} for metric, values in metrics.items()
    ]


def expectation(trace, hours_max):
    """Whatever fired at any time, by the end."""
    name, _, _, _, fires = trace
    fired = f'ALERTS{{alertname=~"Process.*",alertstate="firing",job="{name}"}}[{hours_max}h]'
    return {
        "expr": f"count by (alertname) (count_over_time({fired}))",
        "eval_time": f"{hours_max}h",
        "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(fires)],
    }


def test(group, traces):
    """All traces of a group side by side: one evaluation of the rules serves them all."""
    step, hours_max = STEP_SECONDS[group], max(trace[1] for trace in traces)
    return {
        "name": f"RSS over {group}",
        "interval": f"{step}s",
        "input_series": [one for trace in traces for one in inputs(trace, step)],
        "promql_expr_test": [expectation(trace, hours_max) for trace in traces],
    }


def main():
    rules, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    for group, traces in TRACES.items():
        document = {
            "rule_files": [str(rules / "rules.yml"), str(rules / "alerts.yml")],
            "evaluation_interval": f"{STEP_SECONDS[group]}s",
            "tests": [test(group, traces)],
        }
        (out / f"shapes-{group}.yml").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
