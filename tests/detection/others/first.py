#!/usr/bin/env python3
"""first.py SEED FOLDER: 246 labelled memory traces (124 leaks, 122 not), CSV each, and FOLDER/labels.csv and labels.json.

Written from the specification alone by somebody who knew neither the detector nor the other corpora, and changed since
only in its form. Everything in fractions of the limit until it is written. Needs numpy.
"""

import sys, os, json, math
from itertools import accumulate
from multiprocessing import Pool
import numpy as np

MIB = 1 << 20
GIB = 1 << 30
H = 3600.0
D = 86400.0
CLIMB, OUT, FRAG = "climbing", "climbing_outside_allocator", "fragmenting"


# ---------- noise ----------
def ar(r, n, dt, tau, sd):
    """Ornstein-Uhlenbeck from its stationary law: AR(1) with time constant tau."""
    if sd <= 0:
        return np.zeros(n)
    a = math.exp(-dt / tau)
    e = r.standard_normal(n) * sd * math.sqrt(1 - a * a)
    e[0] = r.standard_normal() * sd
    return np.fromiter(accumulate(e.tolist(), lambda x, y: a * x + y), float, n)


def pink(r, n, dt, sd, tmax):
    taus = np.geomspace(max(dt, 10), tmax, 5)
    return sum(ar(r, n, dt, tau, sd / math.sqrt(5)) for tau in taus)


def gam(r, n, mean, k):
    return r.gamma(k, mean / k, n)


def pareto(r, n, dt, per_hour, scale, alpha=1.6, top=None):
    """Rare requests that hold a lot for a moment."""
    x = np.zeros(n)
    for _ in range(r.poisson(per_hour * n * dt / H)):
        i = r.integers(n)
        m = 1 + int(r.exponential(30.0) / dt)
        x[i : i + m] += min(scale * (r.pareto(alpha) + 1), top or 10 * scale)
    return x


def telegraph(r, n, dt, amp, tau):
    x = np.zeros(n)
    i = 0
    s = r.integers(2)
    while i < n:
        m = 1 + int(r.exponential(tau) / dt)
        x[i : i + m] = amp * s
        s = 1 - s
        i += m
    return x


def decay(x, dt, tau):
    """Pages given back slowly: follows up at once, down with time constant tau."""
    a = math.exp(-dt / tau)
    return np.fromiter(accumulate(x.tolist(), lambda p, y: y if y >= p else y + (p - y) * a), float, len(x))


def service_noise(T, q=None, cap_fast=9.0, cap_slow=9.0):
    """Noise of a real service, calm to rough; capped where the signal would drown for anybody."""
    r = T.r
    q = q or r.choice(["calm", "medium", "rough"], p=[0.4, 0.4, 0.2])
    fast, slow = {"calm": (0.0006, 0.0005), "medium": (0.002, 0.0015), "rough": (0.006, 0.004)}[q]
    fast *= r.uniform(0.5, 1.5)
    slow *= r.uniform(0.5, 1.5)
    fast = min(fast, cap_fast)
    slow = min(slow, cap_slow)
    x = (
        gam(r, T.n, fast * r.uniform(1, 1.5), r.uniform(0.8, 3))
        if r.random() < 0.6
        else np.abs(fast * r.standard_normal(T.n))
    )
    tau = float(np.exp(r.uniform(np.log(60), np.log(1800))))
    x = x + (pink(r, T.n, T.dt, slow, 3600) if r.random() < 0.3 else ar(r, T.n, T.dt, tau, slow))
    if r.random() < 0.35 and q != "calm":
        x = x + pareto(r, T.n, T.dt, r.uniform(0.3, 3), fast * 4)
    T.p.update(q=q, fast=round(fast, 5), slow=round(slow, 5))
    return x


# ---------- load ----------
def wave(T, big, weekly=None, daysd=0.04):
    """Daily traffic in [0,1]-ish over T.t. Where big, the trace starts at or after the peak, so that a fall as
    large as the rise has been seen before the first rise (a first rise of 15% of the limit, never seen to fall,
    is nothing that anybody tells from a leak)."""
    r = T.r
    hs = np.arange(0, 24, 0.05)
    kind = r.choice(["sine", "skew", "office"])
    a2, p2 = r.uniform(0.1, 0.3), r.uniform(0, 6.28)

    def shape(h):
        if kind == "sine":
            return np.sin(2 * np.pi * (h - 9) / 24)
        if kind == "skew":
            return np.sin(2 * np.pi * (h - 9) / 24) + a2 * np.sin(4 * np.pi * h / 24 + p2)
        return np.tanh((h - 8.5) / 1.5) - np.tanh((h - 18.5) / 2.0) - 0.25 * np.exp(-(((h - 12.7) / 0.8) ** 2))

    y = shape(hs)
    lo, hi = y.min(), y.max()
    peak = hs[y.argmax()]
    trough = hs[y.argmin()]
    start = (peak + r.uniform(0, 4)) % 24 if big else r.uniform(0, 24)
    hour = T.t / H + start
    day = np.floor((hour - trough) / 24).astype(int)
    day -= day.min()
    f = 1 + daysd * r.standard_normal(day.max() + 2)
    if weekly is not None:
        d0 = r.integers(7)
        f = f * np.where(((np.arange(len(f)) + d0) % 7) >= 5, weekly, 1.0)
        T.p.update(startday=int(d0), weekend=round(float(weekly), 2))
    w = (shape(hour % 24) - lo) / (hi - lo) * f[day]
    T.p.update(wave=str(kind), starthour=round(float(start), 1))
    return w


# ---------- a trace ----------
class T:
    def __init__(s, r, dur, dt=None, limit=None):
        s.r = r
        s.dt = dt or float(r.choice([10, 15, 15, 30, 30, 60]))
        s.limit = limit or int(r.choice([256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768])) * MIB
        s.n = int(dur / s.dt)
        j = r.uniform(-0.05, 0.05, s.n) * s.dt if r.random() < 0.5 else 0
        s.t = np.arange(s.n) * s.dt + j
        s.t -= s.t[0]
        s.p = {}
        s.noise_out = 0
        s.extra_active = np.zeros(s.n)
        s.outside = np.zeros(s.n)
        s.fl = None
        s.cols = None
        s.floorless = None
        s.sticky = None
        s.rss_wander = 0
        s.lab = dict(leak=False)

    def label(s, cls, onset, slope, deadline, rule):
        s.lab = dict(leak=True, cls=cls, onset=float(onset), slope=float(slope), deadline=float(deadline), rule=rule)


def assemble(T, heap, lives=None, reset=None):
    """heap: live bytes as a share of the limit. Builds the columns, in bytes."""
    r, n, L, dt = T.r, T.n, T.limit, T.dt
    a = np.maximum(heap, 0.004) * L
    f = r.uniform(0.01, 0.06)  # size classes, slabs
    lag = decay(a, dt, r.uniform(0.5, 4) * H) - a  # slabs stay partly used after a peak
    fn = 1 + 0.02 * ar(r, n, dt, 900, 1.0)
    if reset is not None:  # nothing outlives its process
        lag = np.concatenate([decay(a[i:j], dt, 2 * H) - a[i:j] for i, j in reset])
    act = a + f * a * np.clip(fn, 0.5, 1.5) + r.uniform(0.05, 0.2) * lag + T.extra_active * L
    tau = r.choice([10.0, 30.0, 120.0, 600.0]) if T.sticky is None else T.sticky
    res = decay(act, dt, tau) if reset is None else np.concatenate([decay(act[i:j], dt, tau) for i, j in reset])
    res = np.maximum(res, act) + r.uniform(2, 8) * MIB
    base_out = r.uniform(6, 30) * MIB
    rss = (
        res
        + base_out
        + T.outside * L
        + np.abs(ar(r, n, dt, r.uniform(300, 7200), r.uniform(0.05, 0.5) * MIB + 0.0003 * L))
        + T.rss_wander * L
    )
    T.base_rss_over = f
    return a, act, res, np.maximum(rss, MIB)


def gaps(T, keep):
    r = T.r
    if r.random() < 0.2:
        for _ in range(r.integers(1, 4)):
            i = r.integers(T.n)
            keep[i : i + 1 + int(r.exponential(600) / T.dt)] = False
    if r.random() < 0.2:
        keep &= r.random(T.n) > 0.01  # scrapes that failed
    keep[0] = True
    return keep


def write(T, path, cols):
    a, act, res, rss, inf = cols
    t = T.t
    r = T.r
    c = T.cols or str(r.choice(["full", "full", "full", "nolimit", "nolimit", "alloc"]))
    keep = gaps(T, T.keep if getattr(T, "keep", None) is not None else np.ones(T.n, bool))
    pg = lambda x: (np.asarray(x) / 4096).astype(np.int64) * 4096
    arr = {"seconds": np.round(t, 1) if r.random() < 0.3 else np.round(t).astype(np.int64)}
    if arr["seconds"].dtype == np.int64 and len(np.unique(arr["seconds"])) != T.n:
        arr["seconds"] = np.round(t, 1)
    a = a.astype(np.int64)
    if c != "rss":
        arr["allocated_bytes"] = a
        if c != "alloc":
            arr["active_bytes"] = np.maximum(pg(act) + 4096, a)
            arr["resident_bytes"] = np.maximum(pg(res) + 8192, arr["active_bytes"])
    if c != "alloc" or r.random() < 0.7:
        arr["rss_bytes"] = np.maximum(pg(rss), arr.get("resident_bytes", 0) + 4096 if c not in ("rss", "alloc") else 0)
    if c in ("full", "rss") and r.random() < 0.7:
        arr["limit_bytes"] = np.full(T.n, T.limit)
    if inf is not None:
        arr["in_flight"] = np.asarray(inf).astype(np.int64)
    names = list(arr)
    rows = zip(*[arr[k][keep].tolist() for k in names])
    with open(path, "w") as fh:
        fh.write(",".join(names) + "\n")
        fmt = ",".join("%s" for _ in names) + "\n"
        fh.writelines(fmt % row for row in rows)
    T.p["cols"] = c
    T.rows = int(keep.sum())


# ---------- leaks ----------
def lograte(r, lo, hi):
    return float(np.exp(r.uniform(np.log(lo), np.log(hi)))) / D  # share of the limit a second


def warm(t, amp, tau):
    return amp * (1 - np.exp(-np.maximum(t, 0) / tau))


def k_rocket(r):
    ttl = float(np.exp(r.uniform(np.log(0.4), np.log(3.7)))) * H
    base = r.uniform(0.15, 0.5)
    rate = (1 - base - 0.03) / ttl
    onset = r.uniform(0.4, 6) * H if r.random() < 0.8 else r.uniform(6, 30) * H
    dt = float(r.choice([10, 10, 15, 15, 30, 30] + ([60] if ttl < 2 * H else [15])))
    x = T(r, onset + min(ttl * 0.93, ttl - 900 if ttl > 3 * H else ttl * 0.93), dt)
    onset = min(onset, x.t[-1] - 900)
    g10 = rate * 600
    wtau = r.uniform(30, 400)
    h = base + service_noise(x, cap_fast=g10 / 6, cap_slow=g10 / 12)
    h = h - base * r.uniform(0.2, 0.6) * np.exp(-x.t / wtau) if r.random() < 0.5 else h
    h = h + rate * np.maximum(0, x.t - onset)
    if r.random() < 0.25 and onset > 2 * H:
        h = h + 0.03 * r.random() * wave(x, False)
    x.p.update(ttl_h=round(ttl / H, 2), base=round(base, 2))
    x.label(CLIMB, onset, rate, onset + 600, "10min")
    return x, h, None


def k_steady(r):
    pd = float(np.exp(r.uniform(np.log(0.05), np.log(0.45))))
    rate = pd / D
    base = r.uniform(0.12, 0.4)
    dur = min((0.1 / rate) * r.uniform(1.3, 2.2), (0.94 - base) / rate)
    x = T(r, dur)
    g = 0.1
    h = base + service_noise(x, cap_slow=g / 15) + rate * x.t
    wa, wt = r.uniform(0.02, 0.1), r.uniform(30, 1200)
    if r.random() < 0.7:
        h = h - min(wa, base * 0.7) * np.exp(-x.t / wt)
    if r.random() < 0.3:
        h = h + r.uniform(0.003, 0.012) * wave(x, False)
    inf = None
    if r.random() < 0.2:
        inf, add = uploads(x, r.uniform(0.01, 0.03))
        h = h + add
        inf = inf if r.random() < 0.5 else None
    x.p.update(per_day=round(pd, 3), base=round(base, 2))
    x.label(CLIMB, 0, rate, 0.1 / rate, "10%")
    return x, h, inf


def k_traffic(r):
    pd = r.uniform(0.055, 0.2)
    base = r.uniform(0.12, 0.3)
    p2p = r.uniform(0.03, 0.18)
    on = 0 if r.random() < 0.5 else r.uniform(1, 2.5) * D
    dur = on + 36 * H + r.uniform(12, 40) * H
    dur = min(dur, on + (0.94 - base - p2p * 1.1) / pd * D)
    x = T(r, dur)
    w = wave(x, p2p > 0.06, daysd=0.025)
    fl = r.uniform(0.15, 0.4)
    tr = fl + (1 - fl) * w  # traffic never stops
    lk = np.cumsum(tr * (x.t >= on)) * x.dt
    days = (x.t[-1] - on) / D
    whole = int(days) * D
    i1 = np.searchsorted(x.t, on)
    i2 = min(x.n - 1, np.searchsorted(x.t, on + whole))
    k = (lk[i2] - lk[i1]) / (x.t[i2] - x.t[i1])
    rate = pd / D
    h = base + p2p * w + lk * (rate / k) + service_noise(x, cap_slow=pd / 25, cap_fast=0.006)
    x.p.update(per_day=round(pd, 3), p2p=round(p2p, 3), traffic_floor=round(fl, 2))
    x.label(CLIMB, on, rate, on + 36 * H, "36h")
    x.p2p = p2p
    return x, h, None


def k_midlife(r):
    pd = float(np.exp(r.uniform(np.log(0.06), np.log(1.8))))
    rate = pd / D
    base = r.uniform(0.15, 0.45)
    while (0.97 - base) / rate < 4.4 * H:
        rate *= 0.8
    pd = rate * D
    on = float(np.exp(r.uniform(np.log(3), np.log(60)))) * H
    wv = on > 30 * H and pd < 0.25 and r.random() < 0.6
    dl = on + (36 * H if wv else 0.1 / rate)
    p2p = r.uniform(0.03, 0.1) if wv else 0
    room = 0.94 - base - p2p
    x = T(r, min(on + (dl - on) * r.uniform(1.3, 2.2), on + room / rate))
    h = (
        base
        + service_noise(x, cap_slow=0.1 / 18 if not wv else pd / 25, cap_fast=0.009)
        - base * 0.5 * np.exp(-x.t / r.uniform(60, 900))
    )
    if wv:
        h = h + p2p * wave(x, p2p > 0.06, daysd=0.025)
    x.p2p = p2p
    h = h + rate * np.maximum(0, x.t - on)
    inf = None
    if not wv and r.random() < 0.2:
        inf, add = uploads(x, r.uniform(0.01, 0.03))
        h = h + add
        inf = inf if r.random() < 0.6 else None
    x.p.update(per_day=round(pd, 3), base=round(base, 2), p2p=round(p2p, 3))
    x.label(CLIMB, on, rate, dl, "36h" if wv else "10%")
    return x, h, inf


def k_stair(r):
    pd = r.uniform(0.07, 0.6)
    rate = pd / D
    base = r.uniform(0.15, 0.4)
    per10 = r.uniform(8, 25)
    step = 0.1 / per10
    gap = step / rate
    on = 0 if r.random() < 0.4 else r.uniform(3, 20) * H
    x = T(r, min(on + 0.1 / rate * r.uniform(1.4, 2.4), on + (0.93 - base) / rate))
    regular = r.random() < 0.6
    ts = []
    u = on + gap * r.random()
    while u < x.t[-1]:
        ts.append(u)
        u += gap * (1 + 0.05 * r.standard_normal()) if regular else gap * r.gamma(4, 1 / 4)
    sizes = step * np.clip(1 + (0.1 if regular else 0.3) * r.standard_normal(len(ts)), 0.3, 2)
    st = np.zeros(x.n)
    np.add.at(st, np.minimum(np.searchsorted(x.t, ts), x.n - 1), sizes)
    h = (
        base
        + np.cumsum(st)
        + service_noise(x, cap_slow=0.005, cap_fast=0.006)
        - (0.05 * np.exp(-x.t / 300) if r.random() < 0.5 else 0)
    )
    real = sizes.sum() / (len(ts) * (gap if not regular else gap))
    x.p.update(per_day=round(pd, 3), step=round(step, 4), gap_min=round(gap / 60))
    x.label(CLIMB, on, rate, on + 0.1 / rate, "10%")
    # the realised mean, not the drawn one
    if len(ts) > 4:
        sl = sizes[1:].sum() / (ts[-1] - ts[0])
        x.lab["slope"] = float(sl)
        x.lab["deadline"] = float(on + 0.1 / sl)
    return x, h, None


def lives(x, life_fn, base, wtau, lvl_sd, rate=0.0, kill=None):
    """Processes one after another: start low, warm up, run, end. Returns heap, [(i,j)], keep."""
    r = x.r
    h = np.empty(x.n)
    keep = np.ones(x.n, bool)
    i = 0
    segs = []
    while i < x.n:
        b = base + lvl_sd * r.standard_normal()
        m = (
            max(3, int(life_fn() / x.dt))
            if kill is None
            else max(3, int((kill - b) / rate / x.dt * r.uniform(0.97, 1)))
        )
        j = min(x.n, i + m)
        tt = x.t[i:j] - x.t[i]
        tau = wtau * r.uniform(0.8, 1.25)
        h[i:j] = b * (1 - r.uniform(0.8, 0.93) * np.exp(-tt / tau)) + rate * tt
        d = int(r.choice([0, 5, 15, 40, 90]) / x.dt)
        segs.append((i, j))
        if j < x.n and d:
            keep[max(i + 1, j - d) : j] = False
        i = j
    x.keep = keep
    return h, segs


def k_restart(r):
    oom = r.random() < 0.4
    base = r.uniform(0.15, 0.4)
    wtau = r.uniform(45, 400)
    if oom:
        ttl = r.uniform(4.3, 9) * H
        rate = (0.97 - base) / ttl
        x = T(r, r.uniform(2.3, 5) * ttl)
        h, segs = lives(x, None, base, wtau, 0.006, rate, 0.97)
        dl = 0.1 / rate
    else:
        pd = r.uniform(0.1, 0.9)
        rate = pd / D
        life = r.uniform(3, 10) * H
        life = min(life, (0.9 - base) / rate)
        x = T(r, max(0.1 / rate * r.uniform(1.4, 2.2), 3.2 * life))
        dl = 0.1 / rate
        fixed = r.random() < 0.5
        h, segs = lives(
            x, lambda: life * (1 if fixed else r.uniform(0.6, 1.4)), base, wtau, min(0.004, rate * life / 6), rate
        )
        x.p.update(life_h=round(life / H, 1))
    x.reset = segs
    h = h + service_noise(x, cap_slow=0.1 / 25 if oom else min(0.004, rate * life / 10), cap_fast=0.004)
    x.p.update(per_day=round(rate * D, 3), oom=oom, base=round(base, 2), wtau=round(wtau))
    x.label(CLIMB, 0, rate, dl, "10%")
    return x, h, None


def bodies(r, x, wv):
    """A healthy heap to put another leak beside."""
    base = r.uniform(0.12, 0.35)
    h = base + service_noise(x, cap_fast=0.004, cap_slow=0.003) - base * 0.5 * np.exp(-x.t / r.uniform(60, 900))
    return (h + wv * wave(x, wv > 0.06, daysd=0.025)) if wv else h


def mid(r, fastest):
    pd = float(np.exp(r.uniform(np.log(0.06), np.log(fastest))))
    on = 0 if r.random() < 0.5 else r.uniform(3, 40) * H
    return pd, pd / D, on


def k_outside(r):
    pd, rate, on = mid(r, 0.9)
    wv = r.uniform(0.03, 0.12) if r.random() < 0.35 else 0
    x = T(r, min(on + 0.1 / rate * r.uniform(1.3, 2), on + 0.45 / rate))
    h = bodies(r, x, wv)
    x.outside = rate * np.maximum(0, x.t - on) + np.abs(ar(r, x.n, x.dt, 1200, 0.001))
    x.cols = str(r.choice(["full", "nolimit"]))
    x.p.update(per_day=round(pd, 3), p2p=round(wv, 3))
    x.label(OUT, on, rate, on + 0.1 / rate, "10%")
    x.p2p = wv
    return x, h, None


def k_frag(r):
    pd, rate, on = mid(r, 0.6)
    wv = r.uniform(0.03, 0.1) if r.random() < 0.3 else 0
    x = T(r, min(on + 0.1 / rate * r.uniform(1.3, 2), on + 0.45 / rate))
    h = bodies(r, x, wv)
    e = rate * np.maximum(0, x.t - on) + ar(r, x.n, x.dt, 900, 0.0012)
    x.extra_active = np.maximum(0, 0.01 + e)
    x.cols = str(r.choice(["full", "nolimit"]))
    x.p.update(per_day=round(pd, 3), p2p=round(wv, 3))
    x.label(FRAG, on, rate, on + 0.1 / rate, "10%")
    x.p2p = wv
    return x, h, None


def k_rssonly(r):
    pd, rate, on = mid(r, 0.6)
    wv = r.uniform(0.03, 0.08) if r.random() < 0.25 and pd < 0.3 else 0
    dl = on + (36 * H if wv else 0.1 / rate)
    x = T(r, min(on + (dl - on) * r.uniform(1.3, 2), on + 0.5 / rate))
    h = bodies(r, x, wv)
    h = h + rate * np.maximum(0, x.t - on)
    x.cols = "rss"
    x.sticky = float(r.choice([10, 120, 900, 3600]))
    x.rss_wander = np.abs(ar(r, x.n, x.dt, r.uniform(1200, 7200), min(0.004, pd / 30)))
    x.p.update(per_day=round(pd, 3), p2p=round(wv, 3))
    x.label(CLIMB, on, rate, dl, "36h" if wv else "10%")
    x.p2p = wv
    return x, h, None


# ---------- not leaks ----------
def sane(amp, tau, room):
    """A warm-up's first minutes must not be a straight rocket: either it bends within ten minutes or it is slow."""
    return tau <= 20 * 60 or amp / tau <= room / (5.5 * H)


def k_noise(r):
    x = T(r, r.uniform(0.8, 4) * D)
    c = str(r.choice(["white", "pink", "ou", "heavy", "telegraph", "gamma", "mixed"]))
    s = r.uniform(0.002, 0.02)
    n, dt = x.n, x.dt
    y = {
        "white": lambda: s * r.standard_normal(n),
        "pink": lambda: pink(r, n, dt, s, 4 * H),
        "ou": lambda: ar(r, n, dt, np.exp(r.uniform(np.log(600), np.log(4 * H))), min(s, 0.015)),
        "heavy": lambda: pareto(r, n, dt, r.uniform(2, 30), s) + 0.001 * r.standard_normal(n),
        "telegraph": lambda: telegraph(r, n, dt, s * 3, r.uniform(600, 4 * H)) + 0.001 * r.standard_normal(n),
        "gamma": lambda: gam(r, n, 2 * s, 0.5),
        "mixed": lambda: pink(r, n, dt, s * 0.7, 2 * H) + pareto(r, n, dt, 5, s) + gam(r, n, s, 1),
    }[c]()
    x.p.update(colour=c, sd=round(s, 4))
    b = r.uniform(0.2, 0.6)
    if r.random() < 0.2:
        x.cols = "rss"
    return x, b + y - (0.5 * b * np.exp(-x.t / r.uniform(60, 600)) if r.random() < 0.4 else 0), None


def k_warmup(r, large=None):
    large = r.random() < 0.5 if large is None else large
    base = r.uniform(0.05, 0.2)
    while True:
        tau = (
            float(np.exp(r.uniform(np.log(1 * H), np.log(7 * H))))
            if large
            else float(np.exp(r.uniform(np.log(90), np.log(1 * H))))
        )
        amp = r.uniform(0.15, 0.4) if large else r.uniform(0.05, 0.35)
        if sane(amp, tau, 0.97 - base):
            break
    x = T(r, max(8 * tau, 12 * H) + r.uniform(0, 2) * D)
    h = base * (1 - 0.8 * np.exp(-x.t / 20)) + warm(x.t, amp, tau)
    if r.random() < 0.3:
        h = h + warm(x.t, 0.25 * amp, tau / 8)
    h = h + service_noise(x, cap_fast=amp / 30, cap_slow=amp / 50)
    x.p.update(amp=round(amp, 3), tau_h=round(tau / H, 2))
    if r.random() < 0.2:
        x.cols = "rss"
    return x, h, None


def k_cache(r):
    base = r.uniform(0.1, 0.25)
    how = str(r.choice(["exp", "exp", "hard", "flush", "late", "linear"]))
    while True:
        tau = float(np.exp(r.uniform(np.log(120), np.log(5 * H))))
        amp = r.uniform(0.06, 0.4)
        if sane(amp, tau, 0.97 - base):
            break
    if how == "linear":
        amp = r.uniform(0.01, 0.03)
        tau = r.uniform(1.5, 8) * H  # more would be a leak until it stops, to anybody
    x = T(r, max(9 * tau, 14 * H) + r.uniform(0.2, 1.5) * D)
    t0 = 0 if how in ("exp", "hard", "linear") else r.uniform(2, 6) * H
    if how == "linear":
        f = amp * np.clip((x.t - t0) / tau, 0, 1)
    elif how == "hard":
        f = np.minimum(warm(x.t - t0, amp, tau), amp * r.uniform(0.8, 0.95))
    elif how == "flush":
        f = np.zeros(x.n)
        u = 0.0
        per = max(7 * tau, 8 * H) * r.uniform(1, 1.5)
        f = warm(x.t % per, amp, tau)
    else:
        f = warm(x.t - t0, amp, tau)
    h = base * (1 - 0.5 * np.exp(-x.t / 60)) + f + service_noise(x, cap_fast=amp / 30, cap_slow=amp / 50)
    if how != "linear" and r.random() < 0.4:
        h = h - amp * 0.01 * np.abs(ar(r, x.n, x.dt, 1800, 1.0)) * (f > 0.9 * amp)  # evictions
    x.p.update(how=how, amp=round(amp, 3), tau_h=round(tau / H, 2))
    return x, h, None


def k_diurnal(r):
    p2p = float(np.exp(r.uniform(np.log(0.02), np.log(0.3))))
    base = r.uniform(0.15, 0.45)
    x = T(r, r.uniform(2, 6) * D)
    h = base + p2p * wave(x, p2p > 0.07) + service_noise(x)
    x.p.update(p2p=round(p2p, 3))
    if r.random() < 0.25:
        x.cols = "rss"
    return x, h, None


def k_weekly(r):
    p2p = float(np.exp(r.uniform(np.log(0.03), np.log(0.25))))
    base = r.uniform(0.15, 0.4)
    x = T(r, r.uniform(8, 16) * D, dt=float(r.choice([15, 30, 30, 60])))
    h = base + p2p * wave(x, p2p > 0.07, weekly=r.uniform(0.3, 0.75)) + service_noise(x)
    x.p.update(p2p=round(p2p, 3))
    return x, h, None


def k_saw(r):
    per = float(np.exp(r.uniform(np.log(300), np.log(12 * H))))
    amp = r.uniform(0.02, 0.2)
    base = r.uniform(0.25, 0.5)
    ph = r.random()
    x = T(r, max(1.2 * D, 8 * per) + r.uniform(0, 1) * D)
    rocket = amp / per > (0.97 - base) / (4.5 * H) and per > 8 * 60
    if amp > 0.07 or rocket:
        ph = r.uniform(0.86, 0.98)  # a whole fall is seen before the first whole tooth
    jit = r.uniform(0, 0.15)
    edges = [-ph * per]
    while edges[-1] < x.t[-1]:
        edges.append(edges[-1] + per * max(0.4, 1 + jit * r.standard_normal()))
    e = np.array(edges)
    k = np.searchsorted(e, x.t, side="right") - 1
    frac = (x.t - e[k]) / (e[k + 1] - e[k])
    top = 1 + jit * 0.5 * r.standard_normal(len(e))
    h = base + amp * frac * np.clip(top[k], 0.6, 1.4) + service_noise(x, cap_fast=amp / 8, cap_slow=amp / 15)
    x.p.update(amp=round(amp, 3), period_min=round(per / 60))
    if r.random() < 0.2:
        x.cols = "rss"
    return x, h, None


def k_steps(r):
    x = T(r, r.uniform(1, 4) * D)
    base = r.uniform(0.25, 0.45)
    m = int(r.integers(1, 5))
    sg = [1, -1, 1, -1] if r.random() < 0.6 else [1, 1, -1, 1]
    h = np.full(x.n, base)
    on = np.sort(r.uniform(0.05, 0.95, m)) * x.t[-1]
    ss = []
    for i, u in enumerate(on):
        s = r.uniform(0.02, 0.15) if m == 1 or sg != [1, 1, -1, 1] else r.uniform(0.02, 0.045)
        w = r.uniform(5, 120)
        ss.append(round(float(s * sg[i]), 3))
        h = h + s * sg[i] / (1 + np.exp(-np.clip((x.t - u) / w, -50, 50)))
    x.p.update(steps=ss, at_h=[round(float(u / H), 1) for u in on])
    if r.random() < 0.2:
        x.cols = "rss"
    return x, h + service_noise(x), None


def k_batch(r):
    x = T(r, r.uniform(1.2, 4) * D)
    base = r.uniform(0.2, 0.4)
    per = float(r.choice([0.5, 1, 2, 4, 6, 24])) * H
    amp = r.uniform(0.05, 0.35)
    dur = r.uniform(0.03, 0.35) * per
    dur = min(dur, 2.5 * H)
    h = np.full(x.n, base)
    u = r.uniform(0, per)
    while u < x.t[-1]:
        d = dur * r.uniform(0.7, 1.3)
        a = amp * r.uniform(0.7, 1.2)
        up = r.uniform(10, min(200, d / 3))
        dn = r.uniform(5, 60)
        k = slice(*np.searchsorted(x.t, [u, u + d + 6 * dn]))
        tt = x.t[k] - u
        h[k] += np.where(tt < d, a * np.clip(tt / up, 0, 1), a * np.exp(-np.maximum(0, tt - d) / dn)) * (
            1 + 0.05 * ar(r, len(tt), x.dt, 120, 1.0) if len(tt) else 1
        )
        u += per * (1 + 0.02 * r.standard_normal())
    x.p.update(period_h=per / H, amp=round(amp, 3), dur_min=round(dur / 60))
    return x, h + service_noise(x), None


def k_retained(r):
    x = T(r, r.uniform(0.8, 3) * D)
    base = r.uniform(0.15, 0.35)
    h = np.full(x.n, base)
    m = int(r.integers(1, 5))
    x.sticky = float(r.choice([1200, 2 * H, 12 * H, 1e9]))
    a = r.uniform(0.15, 0.4)
    for u in np.sort(r.uniform(0.1, 0.9, m)) * x.t[-1]:
        k = slice(*np.searchsorted(x.t, [u, u + r.uniform(120, 1500)]))
        h[k] += a * r.uniform(0.4, 1) * np.clip((x.t[k] - u) / r.uniform(10, 200), 0, 1)
    x.p.update(bursts=m, amp=round(a, 3), decay_h=round(x.sticky / H, 2))
    x.cols = str(r.choice(["full", "nolimit", "rss"]))
    return x, h + service_noise(x), None


def uploads(x, top):
    """In flight: a queue under a load that wanders; returns the count and its share of the limit."""
    r = x.r
    per = r.uniform(0.2, 2) * MIB
    mean = max(3.0, top * x.limit / per)
    per = top * x.limit / mean
    lam = mean * 0.5 * np.exp(ar(r, x.n, x.dt, np.exp(r.uniform(np.log(900), np.log(4 * H))), 0.35))
    q = r.poisson(np.minimum(lam, 2 * mean))
    x.p.update(uploads=round(mean), per_mib=round(per / MIB, 2))
    return q, q * per / x.limit * (1 + 0.05 * r.standard_normal(x.n))


def k_inflight(r):
    col = r.random() < 0.5
    x = T(r, r.uniform(0.8, 3) * D)
    base = r.uniform(0.15, 0.4)
    kind = str(r.choice(["wander", "wave", "bursts", "ramp"]))
    n = x.n
    top = r.uniform(0.05, 0.25) if col else r.uniform(0.03, 0.08)
    per = r.uniform(0.2, 2) * MIB
    mean = max(4.0, top * x.limit / per)
    per = top * x.limit / mean
    if kind == "wander":
        lam = 0.4 * np.exp(ar(r, n, x.dt, r.uniform(0.3, 3) * H, 0.3))
    elif kind == "wave":
        lam = 0.1 + 0.9 * wave(x, top > 0.06)
    elif kind == "bursts":
        lam = np.full(n, 0.08)
        for _ in range(r.integers(4, 14)):
            u = r.uniform(0, x.t[-1])
            lam[slice(*np.searchsorted(x.t, [u, u + r.uniform(300, 5400)]))] += r.uniform(0.3, 0.9)
    else:
        lam = 0.1 + 0.9 * np.clip(
            np.interp(x.t, np.sort(r.uniform(0, x.t[-1], 8)), [0.1, 0.5, 0.9, 0.4, 0.2, 0.8, 0.5, 0.1]), 0, 1
        )
    q = r.poisson(np.clip(lam, 0, 1.3) * mean)
    use = q * per / x.limit * (1 + 0.04 * r.standard_normal(n))
    x.p.update(load=kind, column=col, top=round(top, 3), uploads=round(mean), per_mib=round(per / MIB, 2))
    return x, base + use + service_noise(x, cap_fast=0.003, cap_slow=0.002), q if col else None


def k_wander(r):
    x = T(r, r.uniform(1.5, 4) * D)
    base = r.uniform(0.2, 0.4)
    tau = float(np.exp(r.uniform(np.log(0.5 * H), np.log(5 * H))))
    sd = r.uniform(0.005, 0.018)
    x.rss_wander = np.abs(0.05 + ar(r, x.n, x.dt, tau, sd))
    x.sticky = float(r.choice([120, 600, 3600]))
    x.cols = str(r.choice(["rss", "rss", "full", "nolimit"]))
    x.p.update(tau_h=round(tau / H, 2), sd=round(sd, 4))
    return x, base + service_noise(x), None


def k_deploy(r):
    x = T(r, r.uniform(1.5, 5) * D)
    base = r.uniform(0.2, 0.5)
    life = r.uniform(3, 20) * H
    while True:
        wtau = float(np.exp(r.uniform(np.log(60), np.log(life / 7))))
        if sane(base * 0.9, wtau, 0.97):
            break
    h, segs = lives(x, lambda: life * r.uniform(0.7, 1.4), base, wtau, 0.008)
    x.reset = segs
    if r.random() < 0.3:
        h = h + r.uniform(0.01, 0.04) * wave(x, False)
    x.p.update(life_h=round(life / H, 1), wtau_min=round(wtau / 60, 1))
    return x, h + service_noise(x, cap_slow=0.003), None


PLAN = [
    ("rocket", k_rocket, 18),
    ("steady", k_steady, 20),
    ("traffic", k_traffic, 16),
    ("midlife", k_midlife, 18),
    ("staircase", k_stair, 10),
    ("restarting", k_restart, 14),
    ("outside", k_outside, 9),
    ("fragmentation", k_frag, 9),
    ("rss_only", k_rssonly, 10),
    ("noise", k_noise, 16),
    ("warmup", lambda r: k_warmup(r, False), 7),
    ("warmup_large", lambda r: k_warmup(r, True), 7),
    ("cache", k_cache, 12),
    ("diurnal", k_diurnal, 12),
    ("weekly", k_weekly, 7),
    ("sawtooth", k_saw, 11),
    ("steps", k_steps, 9),
    ("batch", k_batch, 10),
    ("retained", k_retained, 8),
    ("inflight", k_inflight, 10),
    ("wander", k_wander, 6),
    ("deploys", k_deploy, 7),
]


def one(job):
    seed, ki, i, out = job
    name, fn, _ = PLAN[ki]
    r = np.random.default_rng([seed, ki, i])
    x, h, inf = fn(r)
    a, act, res, rss = assemble(x, h, reset=getattr(x, "reset", None))
    f = "%s_%02d.csv" % (name, i)
    top = float(np.max(rss)) / x.limit
    k = 1.0
    if top > 0.985 and name == "restarting":
        k = 0.985 / top
        a, act, res, rss = a * k, act * k, res * k, rss * k
        x.lab["slope"] *= k
        x.lab["deadline"] /= k
        top = 0.985  # killed at the limit, not above it
    elif top > 0.985:  # the trace ends where the kernel ends the process
        x.n = int(np.argmax(rss > 0.985 * x.limit))
        a, act, res, rss, x.t = a[: x.n], act[: x.n], res[: x.n], rss[: x.n], x.t[: x.n]
        if inf is not None:
            inf = inf[: x.n]
        top = 0.985
    write(x, os.path.join(out, f), (a, act, res, rss, inf))
    lab = dict(
        file=f,
        kind=name,
        limit=x.limit,
        dt=x.dt,
        hours=round(float(x.t[-1]) / H, 2),
        rows=x.rows,
        top=round(top, 3),
        params=x.p,
        **x.lab
    )
    if lab["leak"]:
        L = x.limit
        sl = lab["slope"] * L
        i0 = max(0, np.searchsorted(x.t, lab["onset"]) - 1)
        lab["slope"] = sl
        lab["wave_p2p"] = float(getattr(x, "p2p", 0) * L)
        # RSS without noise on a straight line: its median offset from that line after the onset (below the wave's mean)
        t2 = x.t[i0:]
        segs = [s for s in getattr(x, "reset", None) or []]
        if segs:
            off = np.concatenate([rss[i:j] - sl * (1 + x.base_rss_over) * (x.t[i:j] - x.t[i]) for i, j in segs])
            lab["restarts"] = [float(x.t[i]) for i, _ in segs]
        else:
            off = rss[i0:] - sl * (1 + (x.base_rss_over if lab["cls"] == CLIMB else 0)) * (t2 - lab["onset"])
        lab["level"] = float(np.median(off))
        lab["rss_slope"] = sl * (1 + (x.base_rss_over if lab["cls"] == CLIMB else 0))
        lab["ttl_at_onset"] = (x.limit - lab["level"]) / lab["rss_slope"]
        lab["hours_after_deadline"] = round((float(x.t[-1]) - lab["deadline"]) / H, 2)
    return lab


def main():
    seed, out = int(sys.argv[1]), sys.argv[2]
    os.makedirs(out, exist_ok=True)
    jobs = [(seed, k, i, out) for k, p in enumerate(PLAN) for i in range(p[2])]
    with Pool(2) as p:
        labs = p.map(one, jobs, chunksize=2)
    json.dump(dict(seed=seed, traces=labs), open(os.path.join(out, "labels.json"), "w"), indent=0)
    with open(os.path.join(out, "labels.csv"), "w") as file:
        file.write("file,kind,leak,onset,deadline,class,slope_bytes_per_second,limit_bytes\n")
        for l in labs:
            truth = "1,%f,%f,%s,%f" % (l["onset"], l["deadline"], l["cls"], l["slope"]) if l["leak"] else "0,,,,"
            file.write("%s,%s,%s,%d\n" % (l["file"], l["kind"], truth, l["limit"]))
    print(
        "%d traces, %d leaks, %.1f weeks, %.1f M rows"
        % (
            len(labs),
            sum(l["leak"] for l in labs),
            sum(l["hours"] for l in labs) / 168,
            sum(l["rows"] for l in labs) / 1e6,
        )
    )
    for l in labs:
        if l["leak"] and l["hours_after_deadline"] < 0:
            print("ends before its deadline:", l["file"], l["hours_after_deadline"])


if __name__ == "__main__":
    main()
