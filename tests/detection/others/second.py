#!/usr/bin/env python3
"""second.py SEED FOLDER: 246 labelled memory traces (124 leaks, 122 not), and FOLDER/labels.csv and meta.jsonl.

Written from the specification alone by somebody who knew neither the detector nor the other corpora, and changed since
only in its form. Its levels of noise, limits and rates are such that the rules in use find and cry about as much as has
been published for them. Columns as `heapline replay` reads them. Needs numpy.
"""

import sys, os, json, numpy as np

MiB = 2**20
GiB = 2**30
H = 3600.0
D = 86400.0
P = dict(scale=1.0)
LEAKS = [
    ("rocket", 16),
    ("steady", 20),
    ("traffic", 14),
    ("midlife", 14),
    ("staircase", 12),
    ("restarting", 12),
    ("outside", 12),
    ("fragmentation", 12),
    ("rss_only", 12),
]
CALM = [
    ("noise", 16),
    ("warmup", 14),
    ("cache", 10),
    ("diurnal", 10),
    ("weekly", 6),
    ("sawtooth", 12),
    ("steps", 10),
    ("batch", 10),
    ("retention", 9),
    ("inflight", 10),
    ("wander", 8),
    ("deploys", 7),
]


def lu(r, a, b):
    return float(np.exp(r.uniform(np.log(a), np.log(b))))


def color(r, n, f):  # gaussian noise, unit sd, spectrum shape f(freq in cycles/sample)
    m = 1 << int(np.ceil(np.log2(2 * n + 64)))
    F = np.fft.rfftfreq(m)
    S = np.fft.rfft(r.standard_normal(m)) * f(F)
    S[0] = 0
    x = np.fft.irfft(S, m)
    x /= x.std() + 1e-12
    return x[:n]


def ou(r, n, k):
    return color(r, n, lambda f: 1 / np.sqrt(1 + (2 * np.pi * f * max(k, 1e-3)) ** 2))


def pink(r, n):
    return color(r, n, lambda f: 1 / np.sqrt(np.maximum(f, 1e-5)))


def heavy(r, n, k):  # positive bursts, Pareto sizes, decaying in k samples
    x = np.zeros(n)
    m = r.poisson(n * r.uniform(0.01, 0.05))
    i = r.integers(0, n, m)
    np.add.at(x, i, np.minimum(r.pareto(1.8, m) * 0.6 + 0.2, 7))
    L = int(max(4 * k, 2))
    return np.convolve(x, np.exp(-np.arange(L) / max(k, 0.3)))[:n]


def saw(r, t, per, amp):  # garbage collection / buffer flushes; each tooth a little different
    n = int(t[-1] / per * 1.6) + 4
    ed = np.cumsum(per * r.uniform(0.75, 1.25, n)) - per * r.uniform(0, 1)
    k = np.clip(np.searchsorted(ed, t, side="right"), 0, n - 1)
    lo = np.concatenate([[ed[0] - per], ed])[k]
    hi = ed[np.minimum(k, n - 1)]
    hh = amp * r.uniform(0.85, 1.15, n + 1)
    return hh[k] * (t - lo) / np.maximum(hi - lo, 1)


def noise(r, t, dt, lim, lvl, kind=None):
    """lvl: 0 calm, 1 normal, 2 rough; bytes, mean about level"""
    n = len(t)
    s = lim * [lu(r, 0.0004, 0.002), lu(r, 0.002, 0.006), lu(r, 0.006, 0.018)][lvl]
    kind = kind or r.choice(
        ["white", "ar", "pink", "red", "heavy", "telegraph", "mix", "saw"],
        p=[0.14, 0.2, 0.14, 0.1, 0.16, 0.06, 0.1, 0.1],
    )
    if kind == "white":
        x = s * r.standard_normal(n)
    elif kind == "ar":
        x = s * ou(r, n, lu(r, 40, 900) / dt)
    elif kind == "pink":
        x = 0.7 * s * pink(r, n)
    elif kind == "red":
        x = 0.5 * s * ou(r, n, lu(r, 1200, 9000) / dt)
    elif kind == "heavy":
        x = s * (1.6 * heavy(r, n, lu(r, 15, 200) / dt) + 0.15 * r.standard_normal(n))
    elif kind == "telegraph":
        f = np.cumsum(r.random(n) < dt / lu(r, 600, 5400)) % 2
        x = 1.5 * s * f + 0.2 * s * r.standard_normal(n)
    elif kind == "saw":
        x = saw(r, t, lu(r, 120, 2400), s * 3.5) + 0.2 * s * r.standard_normal(n)
    else:
        x = 0.5 * s * ou(r, n, lu(r, 60, 900) / dt) + 0.4 * s * r.standard_normal(n) + 0.8 * s * heavy(r, n, 2)
    return x, kind


def traffic(r, t, weekly=False, lo=None):
    """a day's load, 0..1: fundamental, some second harmonic, day-to-day jitter, weekend dip"""
    ph = r.uniform(0, D)
    lo = r.uniform(0.15, 0.45) if lo is None else lo
    a2 = r.uniform(0, 0.25)
    x = 2 * np.pi * (t + ph) / D
    w = -np.cos(x) + a2 * np.cos(2 * x + 0.6)
    w = (w - w.min()) / (np.ptp(w) + 1e-9)
    d = ((t + ph) // D).astype(int)
    g = 1 + r.uniform(0.01, 0.05) * r.standard_normal(d.max() + 2)
    if weekly:
        k = (np.arange(d.max() + 2) + int(r.integers(7))) % 7
        g = g * np.where(k >= 5, r.uniform(0.45, 0.75), 1.0)
    c = np.arange(len(g)) + 0.0
    gg = np.interp((t + ph) / D, c, g)
    return lo + (1 - lo) * w * gg


def grid(r, dur, dt):
    n = int(dur / dt)
    t = np.arange(n) * dt + r.uniform(-0.03, 0.03, n) * dt * (r.random() < 0.5)
    return np.round(t - t[0], 1)


def dts(r, dur):
    return float(
        r.choice([10, 15, 30], p=[0.45, 0.35, 0.2])
        if dur < 30 * H
        else r.choice([15, 30, 60], p=[0.25, 0.5, 0.25]) if dur < 6 * D else r.choice([30, 60], p=[0.3, 0.7])
    )


def limit(r):
    return (
        int(
            r.choice(
                [256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768],
                p=np.array([3, 1, 4, 2, 5, 2, 7, 2, 8, 2, 9, 3, 11, 4, 13]) / 76.0,
            )
        )
        * MiB
    )


def warm(t, A, tau):
    return A * (1 - np.exp(-t / tau))


def dirty(alloc, dt, r, life=None):  # pages freed but not given back: decaying peak above the present
    a = np.exp(-dt / lu(r, 8, 40))
    k = int(min(60, max(2, np.log(0.02) / np.log(a))))
    x = alloc.copy()
    for j in range(1, k):
        z = (alloc[:-j] - alloc[j:]) * a**j
        if life is not None:
            z = np.where(life[j:] == life[:-j], z, 0)  # a new process has no dirty pages of the old one
        x[j:] = np.maximum(x[j:], alloc[j:] + z)
    return x - alloc


def build(r, t, dt, lim, alloc, frag=None, out=None, infl=None, rssonly=False, restarts=None, wsd=None, keep=None):
    n = len(t)
    alloc = np.maximum(alloc, lim * 0.004)
    f = r.uniform(0.02, 0.12)
    active = alloc * (1 + f) + lim * 0.0006 * np.abs(ou(r, n, 1800 / dt))
    if frag is not None:
        active = active + frag
    res = active + dirty(active, dt, r, restarts) + lim * 0.004
    if keep is not None:
        res = res + keep
    o = lim * r.uniform(0.01, 0.04) + (
        wsd if wsd is not None else lim * lu(r, 0.0002, 0.0012) * ou(r, n, lu(r, 1800, 14400) / dt)
    )
    rss = res + np.maximum(o, lim * 0.002)
    if out is not None:
        rss = rss + out
    c = dict(allocated_bytes=alloc, active_bytes=active, resident_bytes=res, rss_bytes=rss)
    for k in c:
        c[k] = (np.minimum(c[k], lim * 0.995 if k == "rss_bytes" else lim)).astype(np.int64)
    for k in ("active_bytes", "resident_bytes", "rss_bytes"):
        c[k] = c[k] // 4096 * 4096
    if rssonly:
        c = {"rss_bytes": c["rss_bytes"]}
    if infl is not None:
        c["in_flight"] = infl.astype(np.int64)
    c["_f"] = f
    return c


def work(r, t, dt, lim, amp, slow=1.0):
    """in-flight: count and bytes. Load with bursts; bytes follow the count with a per-item spread"""
    n = len(t)
    per = lu(r, 64 * 1024, 2 * MiB)
    m = max(amp * lim / per, 3)
    lam = np.exp(0.45 * ou(r, n, lu(r, 120, 3600 * slow) / dt) + 0.15 * ou(r, n, 40 / dt))
    c = r.poisson(m * 0.4 * lam)
    return c, c * per * (1 + 0.04 * r.standard_normal(n))


def one(r, kind, i):
    lim = limit(r)
    lvl = int(r.choice([0, 1, 2], p=[0.25, 0.4, 0.35]))
    on = 0.0
    slope = 0.0
    meta = {}
    cls = "climbing"
    base = lim * r.uniform(0.1, 0.5)
    kw = {}
    leak = kind in dict(LEAKS)
    if leak:
        head = lim - base * 1.1 - lim * 0.05
        if kind == "rocket":
            ttl = lu(r, 25 * 60, 3.5 * H)
            on = r.uniform(0.7, 6) * H
            slope = head / ttl
            dl = on + 600
            dur = on + min(ttl * 0.93, 3 * H)
            lvl = min(lvl, 1) if slope * 600 > 0.05 * lim else 0
            if r.random() < 0.25:
                dur = on + ttl * 0.9
        elif kind == "traffic":
            per = r.uniform(0.06, 0.2)
            slope = per * lim / D
            on = r.choice([0.0, r.uniform(6, 40) * H])
            dl = max(on + 36 * H, on + 0.1 * lim / slope)
            dur = dl + r.uniform(6, 36) * H
        else:
            t10 = lu(r, 1.5 * H, 46 * H)
            if kind == "steady":
                t10 = lu(r, 3 * H, 48 * H)
            if kind in ("staircase", "restarting"):
                t10 = lu(r, 6 * H, 48 * H)
            slope = 0.1 * lim / t10
            if head / slope < 4.6 * H:
                slope = head / (4.6 * H)
                t10 = 0.1 * lim / slope
            on = {"steady": 0.0, "midlife": r.uniform(4, 40) * H, "restarting": 0.0}.get(
                kind, float(r.choice([0.0, r.uniform(1.5, 16) * H]))
            )
            if t10 < 3 * H and on == 0 and kind != "restarting":
                on = r.uniform(1.5, 8) * H
            dl = on + t10
            dur = dl + t10 * r.uniform(0.4, 1.6)
            if t10 < 8 * H or kind == "restarting":
                lvl = min(lvl, 1)
        dur = min(dur, on + 0.92 * head / slope) if kind != "restarting" else dur
        dt = dts(r, dur)
        dur = max(dur, dl + 20 * dt)
        t = grid(r, dur, dt)
        s = np.maximum(t - on, 0)
        g = slope * s
        nz, meta["noise"] = noise(r, t, dt, lim, lvl)
        meta["lvl"] = lvl
        a = base + nz + warm(t, lim * r.uniform(0, 0.02), lu(r, 60, 600))
        infl = None
        if kind == "traffic":
            w = traffic(r, t, weekly=False, lo=r.uniform(0.25, 0.55))
            m = w[t >= on].mean()
            g = np.concatenate([[0], np.cumsum(np.where(t[1:] >= on, slope * w[1:] / m, 0) * np.diff(t))])
            amp = lim * r.uniform(0.02, 0.07)
            a = a + amp * w
            meta["wave"] = round(amp / lim, 3)
            if dl > on + 36 * H:  # when 10% is truly gone
                k = np.searchsorted(g, 0.1 * lim)
                dl = max(on + 36 * H, float(t[min(k, len(t) - 1)]))
        elif kind == "staircase":
            st = lim * lu(r, 0.003, 0.014)
            per = st / slope
            m = int(s[-1] / per) + 2
            ed = np.cumsum(per * r.uniform(0.6, 1.4, m)) * 1.0
            ed *= per * m / ed[-1]
            sz = st * r.uniform(0.75, 1.25, m)
            sz *= st / sz.mean()
            g = np.concatenate([[0], np.cumsum(sz)])[np.searchsorted(ed, s)]
            meta["step"] = round(st / lim, 4)
            meta["every"] = int(per)
        elif kind == "restarting":
            life = min(max(lu(r, 2.5 * H, 20 * H), 0.18 * dur), 0.55 * head / slope)
            life = min(max(life, 1.5 * H), 0.7 * dl)
            ed = np.concatenate([[0], np.cumsum(life * r.uniform(0.8, 1.2, int(dur / life * 1.4) + 3))])
            k = np.searchsorted(ed, t, side="right") - 1
            age = t - ed[k]
            tau = lu(r, 30, min(600, life / 15))
            meta["life"] = int(life)
            meta["restarts"] = int(k[-1])
            a = (base + nz) * (1 - 0.75 * np.exp(-age / tau))
            g = slope * age
            kw["restarts"] = k
        elif kind in ("steady", "midlife", "rss_only"):
            if r.random() < 0.3:  # under a mild daily wave or load
                if r.random() < 0.5 or kind == "rss_only":
                    if dl - on > 27 * H:
                        a = a + lim * r.uniform(0.01, 0.03) * traffic(r, t)
                        meta["wave"] = 1
                        dl = max(dl, on + 36 * H)
                else:
                    infl, b = work(r, t, dt, lim, r.uniform(0.02, 0.12))
                    a = a + b
                    meta["infl"] = 1
        elif kind == "rocket" and r.random() < 0.25:
            infl, b = work(r, t, dt, lim, r.uniform(0.01, 0.05))
            a = a + b
            meta["infl"] = 1
        if kind == "outside":
            kw["out"] = g
            cls = "climbing_outside_allocator"
        elif kind == "fragmentation":
            kw["frag"] = g
            cls = "fragmenting"
        else:
            a = a + g
        c = build(
            r,
            t,
            dt,
            lim,
            a,
            infl=infl,
            rssonly=kind == "rss_only" or (kind in ("rocket", "steady", "midlife", "restarting") and r.random() < 0.06),
            **kw,
        )
        f = c.pop("_f")
        rs = slope * (1 + f if kind not in ("outside", "fragmentation") else 1)
        meta["rss_slope"] = rs
        if "allocated_bytes" not in c:
            meta["rssonly"] = 1
            slope = rs  # all that is seen is RSS: its slope is the truth
    else:
        dur = {"weekly": r.uniform(13, 17) * D, "diurnal": r.uniform(2.2, 6) * D, "deploys": r.uniform(2, 6) * D}.get(
            kind, lu(r, 12 * H, 84 * H)
        )
        dt = dts(r, dur)
        t = grid(r, dur, dt)
        n = len(t)
        infl = None
        ro = r.random() < 0.12
        nz, meta["noise"] = noise(r, t, dt, lim, int(lvl if kind == "noise" else min(lvl, 1)), None)
        a = base + nz
        if kind == "noise":
            if r.random() < 0.4:
                b, k2 = noise(r, t, dt, lim, 1)
                a = a + b
                meta["noise"] += "+" + k2
        elif kind == "warmup":
            big = r.random() < 0.6
            A = lim * (r.uniform(0.12, 0.42) if big else r.uniform(0.05, 0.3))
            tau = lu(r, 1 * H, 6 * H) if big else lu(r, 90, 2400)
            base = min(base, lim * 0.3)
            nz, meta["noise"] = noise(r, t, dt, lim, int(r.integers(0, 2)) if not big else 0, None)
            dur = max(dur, 7 * tau)
            t = grid(r, dur, dt)
            n = len(t)
            nz, meta["noise"] = noise(r, t, dt, lim, 0 if big else 1)
            q = r.uniform(0.2, 0.6) if r.random() < 0.4 else 0
            a = base + nz + warm(t, A * (1 - q), tau) + warm(t, A * q, tau / r.uniform(5, 20))
            meta.update(A=round(A / lim, 3), tau=int(tau))
        elif kind == "cache":
            base = min(base, lim * 0.35)
            lin = r.random() < 0.4
            if lin:
                A = lim * r.uniform(0.03, 0.085)
                T = lu(r, 1 * H, 20 * H)
                s = np.minimum(t / T, 1)
            else:  # distinct keys seen: fast, slower, then the cap and LRU
                A = lim * r.uniform(0.1, 0.4)
                T = lu(r, 2 * H, 14 * H)
                u = r.uniform(2.0, 3.2)
                s = np.minimum((1 - np.exp(-u * t / T)) / (1 - np.exp(-u)), 1)
            a = base + A * s + nz * (0.6 if lin else 0.3)
            meta.update(A=round(A / lim, 3), T=int(T), lin=int(lin))
            if r.random() < 0.3:  # a flush now and then: then fills the same way
                fl = r.uniform(0.45, 0.8) * t[-1]
                s2 = np.where(t < fl, t, (t - fl))
                s = np.minimum(s2 / T, 1) if lin else np.minimum((1 - np.exp(-u * s2 / T)) / (1 - np.exp(-u)), 1)
                a = base + A * s + nz * (0.6 if lin else 0.3)
                meta["flush"] = int(fl)
        elif kind in ("diurnal", "weekly"):
            amp = lim * r.uniform(0.03, 0.12)
            a = a + amp * traffic(r, t, weekly=kind == "weekly")
            meta["wave"] = round(amp / lim, 3)
            if r.random() < 0.25:
                w = traffic(r, t, weekly=kind == "weekly")
                per = lu(r, 64 * 1024, 2 * MiB)
                infl = r.poisson(np.maximum(w * lim * r.uniform(0.03, 0.15) / per, 0.1))
                a = base + nz + infl * per
                meta["infl"] = 1
        elif kind == "sawtooth":
            per = lu(r, 300, 6 * H)
            amp = lim * (r.uniform(0.03, 0.28) if per < H else r.uniform(0.03, 0.085))
            a = a + saw(r, t, per, amp)
            meta.update(per=int(per), amp=round(amp / lim, 3))
        elif kind == "steps":
            m = int(r.integers(1, 4))
            at = np.sort(r.uniform(0.1, 0.9, m)) * t[-1]
            sz = [r.uniform(0.03, 0.22)] + [r.uniform(-0.08, 0.05) for _ in range(m - 1)]
            for x, z in zip(at, sz):
                a = a + lim * z * np.clip((t - x) / r.uniform(5, 90), 0, 1)
            meta["steps"] = [round(z, 3) for z in sz]
        elif kind == "batch":
            per = lu(r, H, 24 * H)
            ln = min(lu(r, 240, 3 * H), per * 0.5)
            amp = lim * r.uniform(0.08, 0.4)
            up = r.uniform(10, 180)
            st = np.cumsum(per * (1 + r.uniform(-0.05, 0.05, int(t[-1] / per * 1.2) + 3))) - per * r.uniform(0.1, 0.9)
            for x in st:
                h = amp * r.uniform(0.85, 1.1)
                j0, j1 = np.searchsorted(t, [x - 1, x + ln * 1.3 + up * 8])
                tt = t[j0:j1]
                L = ln * r.uniform(0.85, 1.15)
                a[j0:j1] += (
                    h
                    * np.clip((tt - x) / up, 0, 1)
                    * np.where(tt < x + L, 1, np.exp(-np.maximum(tt - x - L, 0) / max(up * 0.3, 5)))
                )
            meta.update(per=int(per), len=int(ln), amp=round(amp / lim, 3))
        elif kind == "retention":
            ro = False
            keep = np.zeros(n)
            for x in np.sort(r.uniform(0.08, 0.9, int(r.integers(1, 5)))) * t[-1]:
                h = lim * r.uniform(0.05, 0.3)
                up = r.uniform(20, 180)
                L = r.uniform(60, 1500)
                b = h * np.clip((t - x) / up, 0, 1) * np.where(t < x + L, 1, np.exp(-np.maximum(t - x - L, 0) / 30))
                a = a + b
                kk = h * r.uniform(0.5, 0.95) * np.where(t >= x + L, 1 - np.exp(-np.maximum(t - x - L, 0) / 30), 0)
                if r.random() < 0.5:
                    kk = kk * np.exp(-np.maximum(t - x - L, 0) / lu(r, H, 12 * H))
                keep = np.maximum(keep, kk)
            a = np.minimum(a, lim * 0.74)
            kw["keep"] = keep
        elif kind == "inflight":
            col = i % 2 == 0
            meta["col"] = int(col)
            ro = False
            if col:
                infl, b = work(r, t, dt, lim, r.uniform(0.08, 0.4), slow=4)
                if r.random() < 0.5:  # load grows for hours: explained by the column
                    ramp = np.interp(
                        t, [0, t[-1] * 0.3, t[-1] * 0.7, t[-1]], [1, 1, r.uniform(1.6, 2.6), r.uniform(1, 2.2)]
                    )
                    per = lu(r, 64 * 1024, 2 * MiB)
                    infl = r.poisson(lim * r.uniform(0.05, 0.13) / per * ramp * np.exp(0.15 * ou(r, n, 300 / dt)))
                    b = infl * per * (1 + 0.04 * r.standard_normal(n))
                    meta["ramp"] = 1
                a = a + np.minimum(b, lim * 0.74 - base)
            else:
                c0, b = work(r, t, dt, lim, r.uniform(0.05, 0.2), slow=0.1)
                a = a + np.minimum(b, lim * 0.35)
        elif kind == "wander":
            kw["wsd"] = lim * 0.03 + lim * r.uniform(0.006, 0.018) * ou(r, n, lu(r, 1.5 * H, 10 * H) / dt)
        elif kind == "deploys":
            per = lu(r, 5 * H, 30 * H)
            ed = np.concatenate([[-r.uniform(0, per)], np.cumsum(per * r.uniform(0.5, 1.5, int(t[-1] / per * 2) + 4))])
            k = np.searchsorted(ed, t, side="right") - 1
            age = t - ed[k]
            A = lim * r.uniform(0.02, 0.15)
            tau = lu(r, 120, 1.2 * H)
            lv = 1 + 0.04 * r.standard_normal(len(ed))
            kw["restarts"] = k
            a = (base * lv[k] + nz) * (1 - 0.75 * np.exp(-age / lu(r, 30, 500))) + warm(age, A, tau)
            if r.random() < 0.3:
                a = a + lim * r.uniform(0.01, 0.05) * traffic(r, t)
            meta.update(per=int(per), A=round(A / lim, 3), tau=int(tau))
        if infl is not None:
            ro = False
        c = build(r, t, dt, lim, a, infl=infl, rssonly=ro, **kw)
        c.pop("_f")
        meta["rssonly"] = int(ro)
        dl = 0
        on = 0
    if r.random() < 0.15:  # missing scrapes
        keepm = np.ones(len(t), bool)
        for _ in range(int(r.integers(1, 5))):
            x = r.uniform(0.02, 0.98) * t[-1]
            if leak and kind == "rocket" and on - 900 < x < on + 900:
                continue
            keepm &= ~((t > x) & (t < x + lu(r, 60, 1800)))
        t = t[keepm]
        c = {k: v[keepm] for k, v in c.items()}
        meta["gaps"] = 1
    meta.update(dt=dt, hours=round(float(t[-1]) / H, 1), limit_MiB=lim // MiB)
    return (
        t,
        c,
        dict(
            kind=kind, leak=int(leak), onset=on, deadline=dl, cls=cls if leak else "", slope=slope, limit=lim, meta=meta
        ),
    )


def traces(seed):
    i = 0
    for kind, m in LEAKS + CALM:
        for j in range(m):
            yield (i,) + one(np.random.default_rng([seed, i, 77]), kind, j)
            i += 1


def main(seed, out):
    os.makedirs(out, exist_ok=True)
    tot = 0
    L = open(f"{out}/labels.csv", "w")
    L.write("file,kind,leak,onset,deadline,class,slope_bytes_per_second,limit_bytes\n")
    J = open(f"{out}/meta.jsonl", "w")
    for i, t, c, l in traces(seed):
        f = f"{i:03d}-{l['kind']}.csv"
        tot += t[-1]
        cols = list(c)
        tl = t.tolist()
        data = zip(tl, *[c[k].tolist() for k in cols])
        with open(f"{out}/{f}", "w") as w:
            w.write("seconds," + ",".join(cols) + "\n")
            fm = "%.1f" + ",%d" * len(cols) + "\n"
            w.writelines(fm % x for x in data)
        L.write(
            f"{f},{l['kind']},{l['leak']},"
            + (f"{l['onset']:.0f},{l['deadline']:.0f},{l['cls']},{l['slope']:.3f}" if l["leak"] else ",,,")
            + f",{l['limit']}\n"
        )
        J.write(json.dumps(dict(file=f, **l)) + "\n")
    print(f"{i+1} traces, {tot/604800:.1f} trace-weeks")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
