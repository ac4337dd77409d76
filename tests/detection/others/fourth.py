#!/usr/bin/env python3
"""fourth.py SEED FOLDER: 246 labelled memory traces (124 leak, 122 do not) and FOLDER/labels.csv.

Written from the specification alone by somebody who knew neither the detector nor the other corpora.

A trace is a sum of components: a base, one leak (or none), warm-up, a daily wave, coloured noise,
a sawtooth, work in flight. They enter one of three places: live bytes (allocated), fragmentation
(active - allocated), memory outside the allocator (rss - resident). Restarts cut the trace into
lives; whatever was leaked is lost then, and the leak begins again. All scales are shares of the
limit, log-uniform where the order of magnitude matters. The leak's cumulative curve is kept
apart, across lives, and the label (deadline, mean slope) is read from that curve alone.

A leak that would reach the limit in less than four hours is a rocket, and no other kind is one.

Fairness: noise, waves and warm-ups of a leaking trace are bounded by what the leak consumes until
its deadline, so that it can be seen by then from the past alone. Traces that do not leak have no
such bound, but for what nobody could tell, which was mended after the first scoring: lives that begin
where the one before had begun, straight fills of a tenth of the limit, ramps as fast as a rocket for
longer than a rocket may take to be told.
"""
import os
import sys

import numpy as np

MIN, HOUR, DAY, MIB = 60.0, 3600.0, 86400.0, 2 ** 20
INTERVALS = (5, 10, 15, 20, 30, 60, 60, 120, 300)
LEAKS = dict(rocket=16, steady=20, traffic=14, midlife=14, staircase=12, restarting=12, outside=12,
             fragmentation=12, rss_only=12)
SOUND = dict(noise=16, warmup=14, cache=10, diurnal=10, weekly=6, sawtooth=12, step=10, batch=10,
             retention=9, inflight=10, wandering=8, deploys=7)


def logu(rng, low, high):
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def ar1(rng, n, rho):
    """Stationary AR(1) of unit variance."""
    steps = (rng.standard_normal(n) * np.sqrt(max(1 - rho * rho, 0))).tolist()
    x, out = float(rng.standard_normal()), []
    for e in steps:
        x = rho * x + e
        out.append(x)
    return np.array(out)


def wander(rng, n, dt, tau):
    return ar1(rng, n, float(np.exp(-dt / tau)))


def coloured(rng, n, dt, colour):
    """Noise of (about) unit variance."""
    if colour == 'white':
        return rng.standard_normal(n)
    if colour == 'ar1':
        return wander(rng, n, dt, logu(rng, 2 * MIN, 1.5 * HOUR))
    if colour == 'pink':
        f = np.fft.rfftfreq(n)
        f[0] = f[1]
        f = np.maximum(f, dt / (12 * HOUR))
        x = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) / np.sqrt(f), n)
        return (x - x.mean()) / (x.std() + 1e-12)
    x = 0.4 * rng.standard_normal(n)                      # bursts: rare, heavy-tailed, they decay
    at = np.flatnonzero(rng.random(n) < dt / logu(rng, 10 * MIN, 3 * HOUR))
    for i in at:
        size, tau_b = min(1.5 * (1 + rng.pareto(1.8)), 14), logu(rng, max(dt, 20), 8 * MIN)
        m = min(n - i, int(6 * tau_b / dt) + 1)
        x[i:i + m] += size * np.exp(-np.arange(m) * dt / tau_b)
    return x


def daily(rng, t, phase=None, spread=0.06, weekend=1.0):
    """Traffic between about 0 (night) and 1 (peak), each day of slightly another height."""
    phase = rng.uniform(0, DAY) if phase is None else phase
    sharp = rng.uniform(0.7, 1.6)
    a = 2 * np.pi * (t + phase) / DAY
    w = 0.5 - 0.5 * np.cos(a + 0.35 * np.sin(a + rng.uniform(-1, 1)))
    days = np.arange(int((t[-1] + phase) // DAY) + 3)
    height = 1 + spread * rng.standard_normal(len(days))
    first = int(rng.integers(7))
    height[((days + first) % 7) >= 5] *= weekend
    return w ** sharp * np.interp((t + phase) / DAY, days + 0.5, height)


def teeth(rng, t, period, jitter=0.25):
    """Rises from 0 to about 1 and falls sharply, again and again."""
    lengths = period * np.clip(1 + jitter * rng.standard_normal(int(t[-1] / period * 2) + 8), 0.4, 1.8)
    edges = np.concatenate([[-rng.uniform(0, 1) * lengths[0]], lengths]).cumsum()
    k = np.clip(np.searchsorted(edges, t, 'right') - 1, 0, len(lengths) - 1)
    tops = np.clip(1 + 0.12 * rng.standard_normal(len(edges)), 0.6, 1.4)
    return (t - edges[k]) / np.diff(edges, append=edges[-1] + period)[k] * tops[k]


def pulse(t, start, up, stay, down):
    return np.interp(t, [start, start + up, start + up + stay, start + up + stay + down], [0, 1, 1, 0])


class Scene:
    def __init__(self, rng, kind, hours, base=(0.12, 0.45), dt=None):
        self.rng, self.kind = rng, kind
        span = min(hours * HOUR, 14 * DAY)
        fits = [d for d in INTERVALS if 240 <= span / d <= 15000] or [60 if span > 2 * HOUR else 5]
        self.dt = float(dt or rng.choice(fits))
        self.n = int(span / self.dt) + 1
        self.t = np.arange(self.n) * self.dt
        self.limit = float(round(2 ** (27 + 8 * rng.uniform() ** 0.6) / (32 * MIB)) * 32 * MIB)
        self.base = logu(rng, *base)
        self.live, self.frag, self.out = (np.zeros(self.n) for _ in range(3))       # shares of the limit
        self.leak, self.onset, self.channel, self.waved = None, None, 'live', False
        self.cuts, self.levels, self.boot_tau, self.boot = [], None, logu(rng, 20, 15 * MIN), rng.uniform(0.4, 0.9)
        self.keep = logu(rng, 20, 10 * MIN)               # how long resident pages outlive live ones
        self.flight = None
        self.columns = 'full'
        self.quiet = (np.inf, np.inf)                     # no gap in here

    # --- components, all in shares of the limit
    def noise(self, sigma, colour=None):
        colour = colour or self.rng.choice(['white', 'ar1', 'pink', 'burst'])
        self.live += sigma * coloured(self.rng, self.n, self.dt, colour)

    def warm(self, amount, tau):
        self.live += amount * (1 - np.exp(-self.t / tau))

    def wave(self, amount, **kw):
        w = daily(self.rng, self.t, **kw)
        self.live += amount * w
        return w

    def work(self, amount, traffic=None, lag=0.0, shown=0.6):
        """Memory of requests in flight; the column is shown or not."""
        rng = self.rng
        mean = logu(rng, 4, 300)
        rate = mean * np.exp(0.25 * wander(rng, self.n, self.dt, logu(rng, 3 * MIN, HOUR)))
        if traffic is not None:
            rate = rate * (0.15 + traffic)
        count = rng.poisson(np.maximum(rate, 0)).astype(float)
        felt = count
        if lag > self.dt:
            k, y, felt = 1 - np.exp(-self.dt / lag), count[0], []
            for c in count.tolist():
                y += k * (c - y)
                felt.append(y)
            felt = np.array(felt)
        self.live += amount * felt / mean
        if rng.random() < shown:
            self.flight = count

    def leaking(self, rate, onset, channel='live', style=None, traffic=None, step=None):
        """Cumulative leak from onset, in shares of the limit; rate in shares a second."""
        rng, on = self.rng, self.t >= onset
        style = style or rng.choice(['even', 'even', 'wobbly'])
        pace = np.ones(self.n)
        if style == 'wobbly':
            pace = np.clip(1 + 0.25 * wander(rng, self.n, self.dt, 0.1 / rate / 6), 0.4, 1.6)
        if traffic is not None:
            pace = (0.1 + traffic) / np.mean((0.1 + traffic))
        cum = np.cumsum(np.where(on, pace, 0.0)) * rate * self.dt
        if step is not None:
            gap = step / rate
            at = onset + np.cumsum(gap * rng.uniform(0.6, 1.4, int((self.t[-1] - onset) / gap / 0.6) + 3)) - 0.5 * gap
            rise = rng.choice([self.dt, logu(rng, 30, gap / 8 + 31)])
            sizes = step * rng.uniform(0.7, 1.3, len(at))
            cum = np.zeros(self.n)
            for a, s in zip(at, sizes):
                if a < self.t[-1]:
                    cum += s * np.clip((self.t - a) / rise, 0, 1)
        self.leak, self.onset, self.channel = cum, float(onset), channel

    def restarts(self, mean, jitter=0.3):
        at = mean * self.rng.uniform(0.3, 1)
        while at < self.t[-1] - 2 * self.dt:
            self.cuts.append(at)
            at += mean * float(np.clip(1 + jitter * self.rng.standard_normal(), 0.5, 1.8))

    # --- the columns
    def build(self):
        rng, n, dt, L, t = self.rng, self.n, self.dt, self.limit, self.t
        starts = np.searchsorted(t, np.array(self.cuts)) if self.cuts else np.array([], int)
        life = np.searchsorted(starts, np.arange(n), 'right')
        begin = np.concatenate([[0], starts])[life]
        age = t - t[begin]
        boot = np.where(life > 0, self.boot + (1 - self.boot) * (1 - np.exp(-(age + dt / 2) / self.boot_tau)), 1.0)
        level = np.ones(n) if self.levels is None else np.array(self.levels)[np.minimum(life, len(self.levels) - 1)]
        live, frag, out = self.base * level * boot + self.live, self.frag.copy(), self.out.copy()
        if self.leak is not None:
            grown = self.leak - np.where(life > 0, self.leak[begin], 0.0)
            if self.channel == 'live':
                live += grown
            elif self.channel == 'frag':
                frag += grown
            else:
                out += grown
        live = np.maximum(live, 0.15 * self.base)
        slack = self.base * (rng.uniform(0.01, 0.08) + 0.004 * wander(rng, n, dt, logu(rng, 2 * MIN, HOUR)))
        active = live + np.maximum(slack, 0) + np.maximum(frag, 0)
        k, r, held, new = 1 - np.exp(-dt / self.keep), 0.0, [], set(starts.tolist())
        for i, a in enumerate(active.tolist()):
            r = a if (a >= r or i in new) else r + k * (a - r)
            held.append(r)
        resident = np.array(held) + self.base * rng.uniform(0.005, 0.03)
        aside = self.base * logu(rng, 0.02, 0.3)
        hiss = logu(rng, 2e-5, 1e-3) * coloured(rng, n, dt, rng.choice(['white', 'ar1']))
        rss = resident + np.maximum(aside + out + hiss, 0.001)
        self.share = rss
        pages = [np.floor(c * L / 4096) * 4096 for c in (active, resident, rss)]
        self.data = dict(allocated_bytes=np.minimum(np.floor(live * L / 16) * 16, pages[0]),
                         active_bytes=pages[0], resident_bytes=pages[1], rss_bytes=pages[2])

    def mask(self):
        rng, keep = self.rng, np.ones(self.n, bool)
        if rng.random() < 0.35:
            for _ in range(int(rng.integers(1, 5))):
                m = int(min(logu(rng, 2, 40), 0.02 * self.n, HOUR / self.dt))
                i = int(rng.integers(2, max(3, self.n - m - 2)))
                if not (self.t[i] < self.quiet[1] and self.t[min(i + m, self.n - 1)] > self.quiet[0]):
                    keep[i:i + m] = False
        for c in self.cuts:                               # the pod is away for a scrape or three
            if rng.random() < 0.5:
                i = int(np.searchsorted(self.t, c))
                keep[i:i + int(rng.integers(1, max(2, int(min(3, 180 / self.dt)) + 1)))] = False
        return keep

    def deadline(self):
        if self.kind == 'rocket':
            return self.onset + 600
        i = int(np.searchsorted(self.leak, 0.1))
        if i >= self.n:
            return np.inf
        return max(self.t[i], self.onset + 36 * HOUR) if self.waved else self.t[i]


# --- leaks -------------------------------------------------------------------------------------

def confound(s, until, wave=True, noise=(3e-4, 6e-3)):
    """What a leaking trace has besides; `until` is the time from onset to the deadline."""
    rng = s.rng
    s.noise(logu(rng, *noise))
    if rng.random() < 0.45:
        s.warm(rng.uniform(0.02, 0.09), logu(rng, MIN, max(until / 10, 2 * MIN)))
    if wave and rng.random() < 0.4:
        big = until > 36 * HOUR
        amount = logu(rng, 0.01, 0.07) if big else logu(rng, 0.002, 0.01)
        s.waved = s.waved or amount > 0.02
        s.wave(amount)
    if rng.random() < 0.25:
        s.live += logu(rng, 0.005, 0.04) * teeth(rng, s.t, logu(rng, max(4 * s.dt, MIN), max(until / 15, 6 * s.dt)))
    if rng.random() < 0.25:
        s.work(logu(rng, 0.003, 0.02))


def plan(rng, fast, stretch=(1.25, 2.4)):
    """A rate (shares a second), the seconds until a tenth of the limit is gone, how long to go on."""
    rate = logu(rng, 0.05, fast) / DAY
    return rate, 0.1 / rate, rng.uniform(*stretch)


def rocket(rng):
    dt = float(rng.choice([1, 2, 5, 5, 10, 10, 15, 15, 30, 30]))
    base, before = rng.uniform(0.2, 0.5), logu(rng, 25 * MIN, min(8 * HOUR, 9000 * dt))
    whole = logu(rng, 18 * MIN, 3.6 * HOUR)
    rate = 0.95 * (1 - base * 1.15) / whole
    after = min(max(600 + logu(rng, 5 * MIN, HOUR), 3600 - before), whole * 0.9)
    s = Scene(rng, 'rocket', (before + after) / HOUR, (base, base * 1.001), dt)
    tenth = 600 * rate
    s.noise(logu(rng, 2e-4, tenth / 9), rng.choice(['white', 'ar1', 'pink']))
    if rng.random() < 0.4:
        s.warm(rng.uniform(0.01, 0.08), before / rng.uniform(8, 40))
    if rng.random() < 0.4:
        s.wave(logu(rng, 0.002, 0.01))
    if rng.random() < 0.3:
        s.live += logu(rng, 0.1, 0.4) * tenth * teeth(rng, s.t, logu(rng, max(3 * dt, 15), max(2 * MIN, 4 * dt)))
    if rng.random() < 0.3:
        s.work(tenth / 8)
    s.leaking(rate, before, style=rng.choice(['even', 'even', 'wobbly']))
    if before > 2 * HOUR and rng.random() < 0.3:
        s.cuts = [before * rng.uniform(0.2, 0.6)]
    s.quiet = (before - 120, before + 700)
    return s


def steady(rng, kind='steady', channel='live', columns=None, late=0.0):
    rate, until, stretch = plan(rng, 2.5)
    onset = logu(rng, max(2 * HOUR, min(until / 4, 24 * HOUR)), 60 * HOUR) if rng.random() < late else 0.0
    s = Scene(rng, kind, (onset + until * stretch) / HOUR)
    confound(s, until)
    s.leaking(rate, onset, channel)
    if channel != 'live' and rng.random() < 0.5:          # the other curves are no straight lines either
        s.out += logu(rng, 5e-4, 5e-3) * wander(rng, s.n, s.dt, logu(rng, 10 * MIN, HOUR))
    if until > 16 * HOUR and rng.random() < 0.25:
        s.restarts(until * rng.uniform(0.5, 0.9))
    s.columns = columns or s.columns
    return s


def rss_only(rng):
    return steady(rng, 'rss_only', rng.choice(['live', 'live', 'out']), 'rss', late=0.4)


def traffic(rng):
    rate, until, _ = plan(rng, 0.22)
    onset = rng.uniform(0, 2.5) * DAY if rng.random() < 0.4 else 0.0
    until = max(until * 1.3, 36 * HOUR)
    s = Scene(rng, 'traffic', (onset + until * rng.uniform(1.2, 1.9)) / HOUR, (0.12, 0.3))
    w = s.wave(logu(rng, 0.03, 0.15), spread=0.04)
    s.waved = True
    confound(s, until, wave=False, noise=(3e-4, 5e-3))
    s.leaking(rate, onset, traffic=w)
    if rng.random() < 0.5:
        s.work(logu(rng, 0.003, 0.03), w, shown=0.8)
    return s


def staircase(rng):
    rate, until, stretch = plan(rng, 1.0, stretch=(1.5, 2.4))
    s = Scene(rng, 'staircase', until * stretch / HOUR)
    confound(s, until, noise=(3e-4, 4e-3))
    s.leaking(rate, 0.0, step=logu(rng, 0.006, 0.025))
    return s


def restarting(rng):
    life, growth = logu(rng, 2.5, 12) * HOUR, logu(rng, 0.015, 0.3)
    rate = max(growth / life, 0.05 / DAY)
    until = 0.1 / rate
    s = Scene(rng, 'restarting', max(until * rng.uniform(1.3, 2.2), 3.2 * life) / HOUR)
    s.boot_tau, s.boot = max(logu(rng, 20, life / 20), 2 * s.dt), rng.uniform(0.1, 0.6)
    s.noise(logu(rng, 2e-4, min(growth / 6, 6e-3)))
    if rng.random() < 0.3:
        s.wave(logu(rng, 0.002, min(0.02, growth / 2)))
    if rng.random() < 0.2:
        s.live += logu(rng, 0.003, growth / 2) * teeth(rng, s.t, logu(rng, max(4 * s.dt, MIN), max(life / 20, 6 * s.dt)))
    s.leaking(rate, 0.0)
    s.restarts(life, rng.uniform(0.02, 0.35))
    return s


# --- not leaks ---------------------------------------------------------------------------------

def plain(rng, kind, hours, base=(0.12, 0.5), sigma=(5e-4, 1e-2)):
    s = Scene(rng, kind, hours, base)
    if sigma:
        s.noise(logu(rng, *sigma))
    if kind not in ('diurnal', 'weekly') and rng.random() < 0.25:
        s.wave(logu(rng, 0.005, 0.06))
    if kind != 'inflight' and rng.random() < 0.15:
        s.work(logu(rng, 0.003, 0.04))
    if kind not in ('retention', 'wandering', 'inflight') and rng.random() < 0.12:
        s.columns = 'rss'
    return s


def noise(rng, i):
    s = plain(rng, 'noise', logu(rng, 4, 120), sigma=None)
    colour = ('white', 'ar1', 'pink', 'burst')[i % 4]
    s.noise(logu(rng, 0.003, 0.05), colour)
    return s


def warmup(rng):
    tau = logu(rng, 2.5 * MIN, 6 * HOUR)
    s = plain(rng, 'warmup', max(tau / HOUR * rng.uniform(4, 9), logu(rng, 3, 40)), (0.1, 0.35))
    amount = rng.uniform(0.06, 0.45)
    if rng.random() < 0.35:
        part = rng.uniform(0.3, 0.7)
        s.warm(amount * part, tau / rng.uniform(5, 20))
        amount *= 1 - part
    s.warm(amount, tau)
    return s


def cache(rng):
    fill, straight = logu(rng, 0.6, 24) * HOUR, rng.random() < 0.65
    cap = rng.uniform(0.03, 0.07) if straight else rng.uniform(0.1, 0.4)
    s = plain(rng, 'cache', fill / HOUR * rng.uniform(2, 5), (0.1, 0.35), (5e-4, 5e-3))
    start = rng.choice([0.0, rng.uniform(0, 0.4) * fill])
    level = np.clip((s.t - start) / fill, 0, 1)
    if not straight:                                      # misses get rarer as it fills
        level = np.minimum(1.35 * (1 - np.exp(-1.35 * level)), 1)
    if rng.random() < 0.3:                                # flushed once, and filled again
        at = rng.uniform(0.35, 0.9) * s.t[-1]
        level = np.where(s.t > at, np.clip((s.t - at) / fill, 0, 1), level)
    s.live += cap * level
    if rng.random() < 0.4:                                # evicted in strokes when full
        s.live -= cap * rng.uniform(0.02, 0.1) * (level >= 1) * (1 - teeth(rng, s.t, logu(rng, 5 * MIN, 2 * HOUR)))
    return s


def diurnal(rng):
    s = plain(rng, 'diurnal', logu(rng, 30, 200), (0.12, 0.4))
    w = s.wave(logu(rng, 0.03, 0.35), phase=rng.choice([rng.uniform(0, 3 * HOUR), rng.uniform(0, DAY)]))
    if rng.random() < 0.3:
        s.work(logu(rng, 0.01, 0.08), w)
    return s


def weekly(rng):
    s = plain(rng, 'weekly', rng.uniform(10, 14) * 24, (0.12, 0.4))
    s.wave(logu(rng, 0.05, 0.35), weekend=rng.uniform(0.3, 0.75))
    return s


def sawtooth(rng):
    period = logu(rng, 2 * MIN, 10 * HOUR)
    s = plain(rng, 'sawtooth', max(period / HOUR * rng.uniform(7, 15), logu(rng, 4, 60)), (0.12, 0.4))
    s.live += logu(rng, 0.03, 0.5 if period < HOUR else 0.25) * teeth(rng, s.t, max(period, 5 * s.dt), rng.uniform(0.03, 0.35))
    if rng.random() < 0.35:                               # a second, slower collector
        s.live += logu(rng, 0.01, 0.06) * teeth(rng, s.t, max(period, 5 * s.dt) * rng.uniform(4, 9))
    return s


def step(rng):
    s = plain(rng, 'step', logu(rng, 6, 90), (0.12, 0.35))
    for i in range(int(rng.integers(1, 4))):
        at, size = rng.uniform(0.05, 0.9) * s.t[-1], logu(rng, 0.08, 0.5) * (1 if i == 0 else rng.choice([-0.6, 0.6]))
        s.live += size * np.clip((s.t - at) / rng.choice([s.dt, logu(rng, MIN, 15 * MIN)]), 0, 1)
        if i == 0 and rng.random() < 0.4:                 # a deploy's step
            s.cuts = [at]
    return s


def batch(rng):
    s = plain(rng, 'batch', logu(rng, 10, 120), (0.12, 0.4))
    every, height = logu(rng, 1, 24) * HOUR, logu(rng, 0.12, 0.55)
    at, up, stay, cron = rng.uniform(0, 1) * every, logu(rng, MIN, 6 * MIN), logu(rng, MIN, HOUR), rng.random() < 0.6
    while at < s.t[-1]:
        h = height * rng.uniform(0.8, 1.15)
        s.live += h * pulse(s.t, at, min(up * rng.uniform(0.8, 1.2), every / 3), min(stay, every / 3), s.dt * rng.uniform(1, 4))
        at += every * (1 if cron else rng.uniform(0.4, 1.9)) + (every * 0.02 * rng.random())
    return s


def retention(rng):
    s = plain(rng, 'retention', logu(rng, 8, 90), (0.12, 0.35), (5e-4, 5e-3))
    s.keep = rng.choice([1e9, logu(rng, 1, 4) * DAY])
    height = logu(rng, 0.12, 0.45)
    for at in np.sort(rng.uniform(0.08, 0.9, int(rng.integers(1, 6)))) * s.t[-1]:
        s.live += height * pulse(s.t, at, logu(rng, MIN, 6 * MIN), logu(rng, MIN, 25 * MIN), 2 * s.dt)
        height = min(height * rng.uniform(0.6, 1.35), 0.4)
    return s


def inflight(rng):
    s = plain(rng, 'inflight', logu(rng, 8, 100), (0.12, 0.35), (3e-4, 4e-3))
    load = np.full(s.n, 0.6)
    if rng.random() < 0.6:
        load = daily(rng, s.t)
    for _ in range(int(rng.integers(1, 6))):              # overloads, some that build up for hours
        load = load + rng.uniform(0.5, 2.5) * pulse(s.t, rng.uniform(0, 0.9) * s.t[-1], logu(rng, MIN, 4 * HOUR),
                                                    logu(rng, 5 * MIN, 2 * HOUR), logu(rng, MIN, HOUR))
    s.work(logu(rng, 0.03, 0.15), load, lag=rng.choice([0, logu(rng, 30, 5 * MIN)]), shown=1.0)
    return s


def wandering(rng):
    s = plain(rng, 'wandering', logu(rng, 20, 160), (0.15, 0.4), (3e-4, 4e-3))
    w = wander(rng, s.n, s.dt, logu(rng, 0.7, 10) * HOUR)
    s.out += logu(rng, 0.008, 0.04) * (2.5 + 2.5 * np.tanh(w / 2))
    return s


def deploys(rng):
    s = plain(rng, 'deploys', logu(rng, 20, 160), (0.25, 0.6))
    s.restarts(s.t[-1] / rng.uniform(3, 9), 0.4)
    s.levels = np.clip(np.exp(0.16 * rng.standard_normal(len(s.cuts) + 1)), 0.65, 1.6)
    s.boot_tau, s.boot = logu(rng, MIN, 1.5 * HOUR), rng.uniform(0.1, 0.8)
    return s


# --- drawing, checking, writing ------------------------------------------------------------------

def draw(rng, kind, leak, i):
    makers = dict(midlife=lambda: steady(rng, 'midlife', late=1.0), noise=lambda: noise(rng, i),
                  outside=lambda: steady(rng, 'outside', 'out', late=0.5),
                  fragmentation=lambda: steady(rng, 'fragmentation', 'frag', late=0.5))
    make = makers.get(kind) or (lambda: globals()[kind](rng))
    for _ in range(200):
        s = make()
        if leak and kind != 'rss_only' or kind in ('noise', 'step'):
            if s.columns == 'full' and s.channel == 'live' and rng.random() < 0.06:
                s.columns = 'two'
        s.build()
        if not leak:
            top = s.share.max()
            room = 0.94 if rng.random() < 0.008 else 0.88
            if top > room:
                for k in s.data:
                    s.data[k] = np.floor(s.data[k] * room / top / 4096) * 4096
            return s
        full = np.flatnonzero(s.share > 0.985)            # the kernel's killer ends the trace
        end = int(full[0]) if len(full) else s.n
        due = s.deadline()
        if end < s.n:
            s.n, s.t, s.leak = end, s.t[:end], s.leak[:end]
            s.data = {k: v[:end] for k, v in s.data.items()}
            s.flight = None if s.flight is None else s.flight[:end]
            s.cuts = [c for c in s.cuts if c < s.t[-1]] if end else []
        if end < 20 or s.t[-1] < max(due + max(5 * s.dt, 240), 3600) or s.share[:end][s.t <= due].max() > 0.885:
            continue
        mean = s.leak[-1] / (s.t[-1] - s.onset)
        left = (1 - s.share[np.searchsorted(s.t, s.onset)]) / mean
        if (left < 4 * HOUR) != (kind == 'rocket'):        # a rocket is what reaches the limit within four hours
            continue
        if kind == 'rocket' and s.leak[np.searchsorted(s.t, due)] < 0.75 * 600 * mean:
            continue                                      # too little to see in its ten minutes
        return s
    raise RuntimeError('no valid ' + kind)


def write(s, path):
    keep, t = s.mask(), s.t
    jitter = s.rng.uniform(-0.04, 0.04, s.n) * s.dt if s.rng.random() < 0.2 else None
    seconds = t if jitter is None else np.maximum(t + jitter, 0)
    names = {'full': list(s.data), 'two': ['allocated_bytes', 'rss_bytes'], 'rss': ['rss_bytes']}[s.columns]
    columns = [[('%.3f' if jitter is not None else '%d') % x for x in seconds[keep].tolist()]]
    columns += [[str(int(x)) for x in s.data[k][keep].tolist()] for k in names]
    header = ['seconds'] + names + ['limit_bytes']
    columns.append([str(int(s.limit))] * int(keep.sum()))
    if s.flight is not None and s.columns != 'rss':
        header.append('in_flight')
        columns.append([str(int(x)) for x in s.flight[keep].tolist()])
    with open(path, 'w') as f:
        f.write(','.join(header) + '\n' + '\n'.join(map(','.join, zip(*columns))) + '\n')


def main(seed, folder):
    os.makedirs(folder, exist_ok=True)
    rows, jobs = [], [(k, 1, i) for k, c in LEAKS.items() for i in range(c)]
    jobs += [(k, 0, i) for k, c in SOUND.items() for i in range(c)]
    classes = dict(live='climbing', out='climbing_outside_allocator', frag='fragmenting')
    names = np.random.default_rng([seed, 4]).permutation(len(jobs))
    for number, (kind, leak, i) in enumerate(jobs):
        s = draw(np.random.default_rng([seed, 4, number]), kind, leak, i)
        name = 'trace%03d.csv' % names[number]
        write(s, os.path.join(folder, name))
        label = [name, kind, leak, '', '', '', '', int(s.limit)]
        if leak:
            slope = s.leak[-1] * s.limit / (s.t[-1] - s.onset)
            which = 'climbing' if s.columns == 'rss' else classes[s.channel]
            label[3:7] = ['%.0f' % s.onset, '%.0f' % s.deadline(), which, '%.3f' % slope]
        rows.append(label)
    with open(os.path.join(folder, 'labels.csv'), 'w') as f:
        f.write('file,kind,leak,onset,deadline,class,slope_bytes_per_second,limit_bytes\n')
        f.writelines(','.join(map(str, r)) + '\n' for r in sorted(rows))


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2])
