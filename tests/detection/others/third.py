#!/usr/bin/env python3
"""A third corpus of labelled memory traces: third.py SEED FOLDER

Written from the specification alone by somebody who knew neither the detector nor the other corpora.

Writes 246 CSV traces (124 leaks, 122 not) and labels.csv into FOLDER; the same SEED gives the same bytes.

Nothing here draws a curve and adds noise. A trace is a process: traffic arrives (Poisson, with a slowly moving rate
and perhaps a daily or weekly wave), opens sessions, uploads bodies, fills caches and memtables, runs jobs; an
allocator turns live bytes into pages, keeps freed slabs for a while and dirty pages for another while; the kernel adds
what lives outside the allocator and kills at the limit. A leak is a share of arrivals that never gives back its bytes:
live ones (climbing), pages pinned by survivors (fragmenting), or maps and stacks (climbing_outside_allocator).

Inside, sizes are shares of the limit. The background of every leak is tamed so that by the deadline it moves by
well under what the leak has taken: each can be told by a careful human who sees only the past. Nothing of the kind
is done for the traces that do not leak.

After the first scoring what nobody could have told was mended: restarts over before the next row was due, and straight
fills, ramps of jobs and of bursts that looked like leaks for longer than a leak may take to be told.
"""
import os
import sys
from dataclasses import dataclass
from itertools import accumulate
import numpy as np

MIB, MINUTE, HOUR, DAY = 1 << 20, 60., 3600., 86400.
LIMITS = dict(zip((128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768),
                  (5, 9, 14, 6, 15, 5, 13, 6, 12, 5, 11, 5, 11, 7, 13)))
KINDS = (("rocket", 16), ("steady", 20), ("proportional", 14), ("midlife", 14), ("staircase", 12), ("restarting", 12),
         ("outside", 12), ("fragmentation", 12), ("rss_only", 12),
         ("noise", 16), ("warmup", 14), ("cache", 10), ("diurnal", 10), ("weekly", 6), ("sawtooth", 12), ("steps", 10),
         ("batch", 10), ("retention", 9), ("inflight", 10), ("wandering", 8), ("deploys", 7))


# ---------------------------------------------------------------- the world: a clock, a limit, traffic

class World:
    def __init__(self, rng, hours, dt=None, wave=0., weekend=0., sigma=None):
        self.rng = rng
        sizes, weights = np.array(list(LIMITS)), np.array(list(LIMITS.values()), float)
        self.limit = int(rng.choice(sizes, p=weights / weights.sum())) * MIB
        usual = [s for s in (5, 10, 15, 30, 60, 60, 120, 300) if 150 <= hours * HOUR / s <= 16000]
        self.dt = float(dt or rng.choice(usual))
        self.n = int(hours * HOUR / self.dt)
        self.t = np.arange(self.n) * self.dt
        self.load = self.traffic(wave, weekend, self.u(.03, .2) if sigma is None else sigma)

    def u(self, a, b):
        return float(self.rng.uniform(a, b))

    def lu(self, a, b):
        return float(np.exp(self.rng.uniform(np.log(a), np.log(b))))

    def coin(self, p):
        return bool(self.rng.random() < p)

    def traffic(self, wave, weekend, sigma):
        """Requests a second over their mean: a wave by day (morning and evening humps), weekends, a slow wander."""
        day = 2 * np.pi * (self.t / DAY + self.u(0, 1))
        shape = np.sin(day) + self.u(.1, .45) * np.sin(2 * day + self.u(-.8, .8))
        load = 1 + wave * shape / np.abs(shape).max()
        if weekend:
            position = (self.t / DAY + self.u(0, 7)) % 7
            edge = np.clip((position - 5) * 5, 0, 1) * np.clip((7 - position) * 5, 0, 1)
            load = load * (1 - weekend * edge)
        load = load * np.exp(sigma * wander(self, self.lu(600, 4 * HOUR)) - sigma ** 2 / 2)
        return np.maximum(load, .02)

    def moments(self, per_hour):
        """Arrival times of a Poisson process that follows the traffic."""
        gone = np.concatenate(([0.], np.cumsum(self.load) * self.dt / HOUR * per_hour))
        marks = np.sort(self.rng.uniform(0, gone[-1], self.rng.poisson(gone[-1])))
        return np.interp(marks, gone, np.arange(self.n + 1) * self.dt)


def decay(x, keep, start=0.):
    return np.array(list(accumulate(x.tolist(), lambda s, v: keep * s + v, initial=start))[1:])


def wander(w, tau):
    """Ornstein-Uhlenbeck of variance one."""
    keep = np.exp(-w.dt / tau)
    return decay(w.rng.normal(0, np.sqrt(1 - keep ** 2), w.n), keep, w.rng.normal())


def pulses(w, start, lasting, size):
    """Blocks of memory taken at `start`, held for `lasting`, given back."""
    edge = np.bincount(np.searchsorted(w.t, start), size, w.n + 1)
    edge = edge - np.bincount(np.searchsorted(w.t, start + lasting), size, w.n + 1)
    return np.maximum(np.cumsum(edge)[:w.n], 0)


# ---------------------------------------------------------------- what holds memory (each about 1 when at work)

def requests(w, n, cv=1.):
    """Short requests in flight: Poisson many, each with its own size. Returns bytes and the count."""
    count = w.rng.poisson(n * w.load)
    return np.maximum(count + cv * np.sqrt(count) * w.rng.normal(size=w.n), 0) / n, count


def sessions(w, n, tau, empty=False):
    """Birth and death: n sessions living tau seconds on average; `empty` when the process has just started."""
    keep = np.exp(-w.dt / tau)
    push = (1 - keep) * w.load + np.sqrt((1 - keep ** 2) / n) * w.rng.normal(size=w.n)
    return np.maximum(decay(push, keep, 0. if empty else float(w.load[0])), 0)


def uploads(w, per_hour, alpha, pace):
    """Bodies buffered while they arrive; Pareto sizes, the large ones also take longer."""
    start = w.moments(per_hour)
    size = np.minimum(1 + w.rng.pareto(alpha, len(start)), 80.)
    return pulses(w, start, 2 + size * pace, size)


def workers(w, n, on, off):
    """Workers with a buffer each, switched on and off."""
    total = np.zeros(w.n)
    for _ in range(n):
        turns = np.cumsum(w.rng.exponential([on, off], (int(w.n * w.dt / (on + off) * 2) + 9, 2)).ravel())
        turns -= w.u(1, 4) * (on + off)                          # it has been at work before we looked
        total += np.searchsorted(turns, w.t) % 2
    return total / n


def garbage(w, cycle):
    """Go's heap between collections: 0 right after one, 1 right before; aliased when scraped less often."""
    return np.cumsum(w.load * np.exp(.1 * w.rng.normal(size=w.n)) * w.dt / cycle) % 1. * (1 + .05 * wander(w, cycle))


def memtable(w, period, jitter=.1, remains=0.):
    """Writes gather until the table is full, then it is flushed."""
    fill, full, out = w.u(0, 1), 1., []
    for add in (w.load * w.dt / period * w.rng.gamma(20, 1 / 20, w.n)).tolist():
        fill += add
        if fill > full:
            fill, full = w.u(0, remains), 1 + jitter * w.rng.normal()
        out.append(min(fill, 1.5))
    return np.array(out)


def jobs(w, start, lasting, size, stages=6):
    """Batch jobs which read their input in stages and free all at the end."""
    total = np.zeros(w.n)
    for k in range(stages):
        late = lasting * k / stages * .6
        total += pulses(w, start + late, lasting - late, size / stages)
    return total


def timetable(w, every, jitter=.02, first=None):
    first = w.u(0, every) if first is None else first
    at = np.arange(first, w.n * w.dt, every)
    return at + w.rng.exponential(jitter * every, len(at))


def distinct(w, fill_time, skew, cap):
    """A cache of distinct keys under Zipf traffic; `cap` is the share of all keys it may hold."""
    p = np.arange(1, 3001) ** -skew
    p /= p.sum()
    x = np.geomspace(1, 3e6, 240)
    seen = np.array([(1 - np.exp(-p * v)).mean() for v in x])
    work = np.cumsum(w.load) * w.dt / fill_time * np.interp(cap, seen, x)
    return np.minimum(np.interp(work, np.r_[0, x], np.r_[0, seen]) / cap, 1)


def ttl(w, lifetime):
    gone = np.cumsum(w.load) * w.dt
    return (gone - np.interp(w.t - lifetime, w.t, gone, left=0.)) / lifetime


# ---------------------------------------------------------------- a story, and the allocator which lives it

@dataclass
class Story:
    w: World
    base: float                     # code, tables, config: there from the start
    heap: np.ndarray                # live bytes above it
    leak: np.ndarray = None         # live bytes never given back
    pinned: np.ndarray = None       # pages kept by a few survivors each
    maps: np.ndarray = None         # leaked outside the allocator
    outside: np.ndarray = None      # stacks, files, buffers which do not leak
    restarts: tuple = ()
    startup: float = 20.            # time constant of a start
    kill: float = 1.
    slack: float = None             # pages over live bytes
    unpin: float = None             # how long half-empty slabs stay
    purge: float = None             # how long dirty pages stay
    in_flight: np.ndarray = None
    rss_only: bool = False
    peak: float = .86
    onset: float = None
    deadline: float = None
    klass: str = ""
    slope: float = 0.

    def __post_init__(self):
        w, zero = self.w, np.zeros(self.w.n)
        self.leak, self.pinned, self.maps = (zero if x is None else x for x in (self.leak, self.pinned, self.maps))
        own = w.u(.01, .05) * (1 + w.u(0, .03) * wander(w, w.lu(300, 6 * HOUR)))
        self.outside = own if self.outside is None else own + self.outside
        self.slack = self.slack or w.u(.02, .14)
        self.unpin = self.unpin or w.lu(30, 1200)
        self.purge = self.purge or w.lu(8, 300)


def live(s, leaking=True):
    """Run the process. Returns allocated, active, resident, rss (shares of the limit) and which scrapes found it up."""
    w = s.w
    heap, out = s.heap.tolist(), s.outside.tolist()
    lost, pins, maps = ((x if leaking else x * 0).tolist() for x in (s.leak, s.pinned, s.maps))
    slack = (s.slack * (1 + .04 * wander(w, 2 * HOUR))).tolist()
    kill = s.kill if s.klass else np.inf
    stops, rows, up = sorted(s.restarts) + [np.inf], [], np.ones(w.n, bool)
    unpin, purge = 1 - np.exp(-w.dt / s.unpin), np.exp(-w.dt / s.purge)
    born, at, mark, active, dirty, rss = -1e9, 0, 0, 0., 0., 0.
    for i in range(w.n):
        now = i * w.dt
        if now >= stops[at] or rss >= kill:
            while now >= stops[at]:
                at += 1
            born, mark, active, dirty = now - w.rng.uniform(0, w.dt), i, 0., 0.
            up[i:i + int(w.rng.exponential(25) / w.dt) + 1] = w.coin(.5)
        age = (now - born) / s.startup
        ready = 1 - np.exp(-age - .02) if age < 12 else 1.
        useful, leaked = (s.base * min(1., .5 + ready) + heap[i]) * ready, lost[i] - lost[mark]
        allocated = useful + leaked                              # what leaks lies densely: it costs what it says
        wanted = useful * (1 + slack[i]) + leaked + pins[i] - pins[mark]
        change = wanted - active if wanted > active else (wanted - active) * unpin
        active += change
        dirty = max(dirty * purge - change, 0.)
        resident = active * 1.012 + dirty
        rss = resident + out[i] * (.6 + .4 * ready) + maps[i] - maps[mark]
        rows.append((allocated, active, resident, rss))
        if rss >= kill:
            rows[-1] = tuple(x * .998 * kill / rss for x in rows[-1])
    return np.array(rows).T, up


def tame(s, window, share, lag=None):
    """Shrink the background until its floors, or its medians, over tenths of the window move by under share x 10% of
    the limit: between `lag` apart, or altogether. Then leave room for 10% under the limit."""
    w = s.w
    _, _, _, rss = live(s, leaking=False)[0]
    per = max(int(window / 10 / w.dt), 1)
    blocks = rss[:w.n // per * per].reshape(-1, per)
    moved = []
    for level in (blocks.min(1), np.median(blocks, 1)):
        step = max(int(round(lag / (per * w.dt))), 1) if lag else 0
        if lag and len(level) > step + 2:
            moved.append(np.quantile(np.abs(level[step:] - level[:-step]), .97))
        else:
            moved.append(np.subtract(*np.quantile(level, [.97, .03])))
    factor = min(1., share * .1 / max(min(moved), 1e-9), .35 / max(np.ptp(rss), .35))
    s.heap = s.heap * factor
    s.outside = s.outside.mean() + (s.outside - s.outside.mean()) * factor
    room = .74 - (s.heap.max() * (1 + s.slack) + s.outside.max())
    s.base = min(s.base, room / (1.03 + s.slack))


# ---------------------------------------------------------------- leaks

def background(w, size):
    """What a leaking service does besides: returns live bytes and, for some, the in_flight it exports."""
    which, flying = w.rng.choice(7, p=[.2, .2, .15, .12, .08, .1, .15]), None
    if which == 0:
        x, _ = requests(w, w.lu(5, 200), w.u(.5, 2))
    elif which == 1:
        x = sessions(w, w.lu(50, 3000), w.lu(300, 4 * HOUR))
    elif which == 2:
        x = garbage(w, w.lu(20, 900))
    elif which == 3:
        x = uploads(w, w.lu(30, 400), w.u(1.3, 2), w.lu(2, 20))
        x = x / max(np.quantile(x, .98), 1.)
    elif which == 4:
        x = memtable(w, w.lu(600, 2 * HOUR))
    elif which == 5:
        at = timetable(w, w.lu(HOUR / 2, 6 * HOUR), .05)
        x = jobs(w, at, w.rng.exponential(300, len(at)) + 60, w.rng.gamma(8, 1 / 8, len(at)))
    else:
        x, flying = requests(w, w.lu(8, 150), .6)
    mix = .75 * x + .25 * sessions(w, 200, w.lu(120, 2 * HOUR))
    if flying is None and w.coin(.15):
        flying = w.rng.poisson(w.lu(3, 60) * w.load)
    return size * mix, flying


def losing(w, onset, time, grain, by_load=True):
    """Arrivals that leak: 10% of the limit every `time` seconds on average, in lumps of about `grain`."""
    mean = .1 / time * w.dt * (w.load if by_load else np.ones(w.n)) * (w.t > onset)
    return np.cumsum(w.rng.poisson(mean / grain) * grain * w.rng.gamma(30, 1 / 30, w.n))


def judged(s, lost, onset, klass, least=0.):
    """Labels: the deadline is when 10% of the limit has been leaked; the slope is the mean from the onset."""
    gone = int(np.searchsorted(lost, .1))
    if gone >= s.w.n - 2:
        return None
    s.onset, s.klass = float(onset), klass
    s.deadline = max(float(s.w.t[gone]), onset + least)
    if s.deadline > s.w.t[-5] or s.deadline - onset < 8 * s.w.dt:
        return None
    s.slope = lost[-1] / (s.w.t[-1] - onset) * s.w.limit
    return s


def leaky(rng, k, low, high, klass="climbing", healthy=None, wave=0., size=None, rss_only=False):
    """The common leak: 10% of the limit in `low`..`high` hours."""
    draw = lambda a, b: float(np.exp(rng.uniform(np.log(a), np.log(b))))
    hours = draw(low, high)
    before = rng.uniform(*healthy) * hours if healthy else (0. if rng.random() < .6 else rng.uniform(.1, .5) * hours)
    w = World(rng, before + hours * (rng.uniform(3.5, 6) if rng.random() < .1 else rng.uniform(1.35, 2.6)), wave=wave)
    onset = float(round(before * HOUR))
    heap, flying = background(w, size or w.lu(.003, .08))
    s = Story(w, w.u(.12, .5), heap, in_flight=flying, rss_only=rss_only)
    if rss_only:
        s.purge, s.unpin = w.lu(60, 3 * HOUR), w.lu(60, 3000)
    if klass == "climbing":
        lost = s.leak = losing(w, onset, hours * HOUR, w.lu(2e-6, 5e-4))
    elif klass == "fragmenting":
        lost = s.pinned = losing(w, onset, hours * HOUR, w.lu(1e-6, 1e-4))
    else:
        lost = s.maps = losing(w, onset, hours * HOUR, w.lu(2e-5, 3e-3))
    tame(s, min(hours, 24) * HOUR, .42 * min(1, 24 / hours))
    if onset and not healthy:                                    # the release which leaks replaced one which did not
        s.restarts, s.startup = (onset,), w.lu(5, 180)
    elif not onset and w.coin(.5):                               # watched from its very start
        s.restarts, s.startup = (0.,), w.lu(5, hours * HOUR / 60)
    return judged(s, lost, onset, klass)


def rocket(rng, k):
    klass = "climbing_outside_allocator" if k in (5, 11) else "climbing"
    to_limit = float(np.exp(rng.uniform(np.log(.35), np.log(3.7))))
    before = float(rng.uniform(.3, 6))
    dt = rng.choice([d for d in (1, 2, 5, 10, 15, 20, 30) if (before + to_limit) * HOUR / d < 15000])
    w = World(rng, before + max(to_limit * rng.uniform(.6, 1.6), .35), dt=dt, sigma=.05)
    onset = float(round(before * HOUR))
    heap, flying = background(w, w.lu(.008, .1))
    s = Story(w, w.u(.15, .6), heap, in_flight=flying, rss_only=k in (3, 13))
    s.purge = w.lu(5, 30)
    room = .95 - s.base * 1.1
    ten = 600 / (to_limit * HOUR) * room
    tame(s, 600, .3 * ten / .1, lag=600)
    if w.coin(.3):                                               # broken from the release on
        s.restarts, s.startup = (onset,), w.lu(3, 15)
    time = to_limit * HOUR * .1 / room
    # a consumer which stopped; or a retry storm, which grows on itself
    growth = np.interp(w.t - onset, [0, to_limit * HOUR], [1, w.u(1, 1.25)]) if w.coin(.4) else 1.
    w.load = w.load * growth
    lost = losing(w, onset, time, w.lu(1e-6, 2e-4))
    if klass == "climbing":
        s.leak = lost
    else:
        s.maps = lost
    s.onset, s.deadline, s.klass = onset, onset + 600, klass
    s.slope = lost[-1] / (w.t[-1] - onset) * w.limit
    return s if s.deadline < w.t[-1] - 120 else None


def proportional(rng, k):
    hours = float(np.exp(rng.uniform(np.log(18), np.log(46))))
    before = rng.uniform(0, 1.2) * 24 if rng.random() < .7 else 0.
    wave = rng.uniform(.3, .75)
    w = World(rng, before + max(hours, 36) * rng.uniform(1.3, 2.4), wave=wave)
    onset = float(round(before * HOUR))
    crowd = sessions(w, w.lu(200, 3000), w.lu(300, 2 * HOUR))
    heap, flying = background(w, .02)
    if w.coin(.3):
        flying = w.rng.poisson(w.lu(10, 80) * w.load)
    s = Story(w, w.u(.12, .45), heap + w.lu(.01, .12) * crowd, in_flight=flying)
    s.leak = losing(w, onset, hours * HOUR, w.lu(2e-6, 2e-4))
    tame(s, DAY, .3 * min(1, 24 / hours), lag=DAY)
    if onset and w.coin(.4):
        s.restarts, s.startup = (onset,), w.lu(10, 300)
    return judged(s, s.leak, onset, "climbing", 36 * HOUR)


def staircase(rng, k):
    """A job leaks what it forgot to free; hourly, several times a day, nightly."""
    often = (((.5, 1.5), (.006, .018)), ((2, 4), (.011, .024)), ((5, 8), (.015, .025)), ((24, 24), (.034, .048)))
    every, step = (float(rng.uniform(*x)) for x in often[(0, 1, 2, 0, 1, 3)[k % 6]])
    need = every * np.ceil(.1 / step)
    before = every * rng.uniform(.2, .95) + rng.uniform(0, .5) * need
    w = World(rng, before + need * rng.uniform(1.5, 2.2), wave=rng.choice([0., .2]))
    onset = float(round(before * HOUR))
    at = timetable(w, every * HOUR, .01, first=onset + every * HOUR * w.u(.3, .9))
    heap, flying = background(w, w.lu(.005, .05))
    runs = np.concatenate((at, np.arange(at[0] - every * HOUR, 0, -every * HOUR)))
    work = jobs(w, runs, np.full(len(runs), w.u(.03, .1) * every * HOUR), w.rng.gamma(6, 1 / 6, len(runs)))
    s = Story(w, w.u(.15, .5), heap + w.u(0, 1.5) * step * work, in_flight=flying)
    s.leak = pulses(w, at + 60, np.full(len(at), 1e9), step * w.rng.gamma(25, 1 / 25, len(at)))
    tame(s, min(need, 24) * HOUR, .3)
    s = judged(s, s.leak, onset, "climbing")
    if s:
        s.slope = s.leak[-1] / (at + 60 <= w.t[-1]).sum() / (every * HOUR) * w.limit
    return s


def restarting(rng, k):
    """Released again every few hours, or killed (by the kernel, by a watchdog): it climbs in each life."""
    killed = k % 3 == 2
    life = rng.uniform(7, 22) if killed else rng.uniform(2.5, 9)
    each = rng.uniform(.3, .45) if killed else rng.uniform(.025, .055)
    hours = life * .1 / each
    w = World(rng, life * rng.uniform(4, 7) if killed else hours * rng.uniform(1.5, 2.6) + life, wave=0.)
    onset = 0. if not killed and w.coin(.6) else float(round(life * w.u(.3, .9) * HOUR))
    heap, flying = background(w, w.lu(.005, .05))
    s = Story(w, w.u(.25, .55), heap, in_flight=flying, startup=max(w.lu(8, 240 if hours > 3 else 60), 2 * w.dt))
    s.leak = losing(w, onset, hours * HOUR, w.lu(2e-6, 2e-4))
    tame(s, min(hours, life) * HOUR, .3 * min(1, life / hours))
    if killed:
        s.kill = 1. if w.coin(.5) else w.u(.78, .95)
        s.base = min(s.base, s.kill - each - .02)
        s.restarts = (onset,)
    else:
        s.restarts = tuple(np.cumsum(life * HOUR * w.rng.gamma(30, 1 / 30, 60)) - life * HOUR * w.u(.2, .9))
        s.restarts = tuple(x for x in s.restarts if x > 0) + ((onset,) if onset else ())
    return judged(s, s.leak, onset, "climbing")


def steady(rng, k):
    return leaky(rng, k, 4, 46, wave=float(rng.choice([0., 0., .1])))


def midlife(rng, k):
    return leaky(rng, k, 3, 34, healthy=(.5, 2.), wave=float(rng.choice([0., 0., .15])))


def outside(rng, k):
    return leaky(rng, k, 3.5, 40, "climbing_outside_allocator", healthy=(.2, 1.) if k % 2 else None)


def fragmentation(rng, k):
    return leaky(rng, k, 4, 44, "fragmenting", healthy=(.2, 1.) if k % 3 == 0 else None)


def rss_only(rng, k):
    return leaky(rng, k, 4, 40, healthy=(.4, 1.5) if k % 2 else None, wave=.1 if k % 4 == 0 else 0., rss_only=True)


# ---------------------------------------------------------------- not leaks

def noise(rng, k):
    w = World(rng, float(np.exp(rng.uniform(np.log(5), np.log(140)))), sigma=float(rng.uniform(.02, .3)))
    size, flying = w.lu(.02, .2), None
    if k % 6 == 0:                                               # white
        x, flying = requests(w, w.lu(3, 60), w.u(.5, 3))
    elif k % 6 == 1:                                             # red
        x = sessions(w, w.lu(15, 300), w.lu(600, 8 * HOUR))
    elif k % 6 == 2:                                             # pink: pools of every age
        x = sum(sessions(w, 40, tau) for tau in np.geomspace(60, 12 * HOUR, 6)) / 6
    elif k % 6 == 3:                                             # heavy-tailed
        x = uploads(w, w.lu(20, 300), w.u(1.1, 1.8), w.lu(3, 40))
        x = x / max(np.quantile(x, .9), 1)
    elif k % 6 == 4:                                             # on and off
        x = workers(w, int(rng.integers(2, 7)), w.lu(600, 4 * HOUR), w.lu(600, 6 * HOUR))
    else:
        x = garbage(w, w.lu(15, 3000)) * sessions(w, 300, w.lu(600, 4 * HOUR))
    return Story(w, w.u(.1, .55), size * x, in_flight=flying if w.coin(.4) else None, rss_only=k % 8 == 7,
                 peak=.93 if k == 9 else .86)


def warmup(rng, k):
    tau = float(np.exp(rng.uniform(np.log(.1), np.log(9))))
    prior = rng.uniform(0, 2) * tau if rng.random() < .3 else 0.
    w = World(rng, max(prior + tau * rng.uniform(6, 14), 1.5))
    w.t = w.t - prior * HOUR
    share, tau = w.u(.08, .55), tau * HOUR
    shards = int(w.lu(15, 300))
    if k % 5 == 0:                                               # sessions gather
        x = sessions(w, w.lu(300, 9000), tau, empty=True) if not prior else 1 - np.exp(-np.maximum(w.t, 0) / tau)
    elif k % 5 == 1:                                             # shards are opened when first asked for
        x = pulses(w, w.rng.exponential(tau, shards), np.full(shards, 1e9), w.rng.gamma(3, 1 / 3, shards) / shards)
    elif k % 5 == 2:                                             # the balancer moves traffic over
        share = w.u(.03, .07)
        x = 1.03 / (1 + np.exp(-(w.t - 1.6 * tau) / tau * 2.2)) - .03
    elif k % 5 == 3:                                             # pools in minutes, the rest in hours
        x = 1 - .4 * np.exp(-np.maximum(w.t, 0) * 9 / tau) - .6 * np.exp(-np.maximum(w.t, 0) / tau)
    else:                                                        # everybody reconnects at once, then settles
        x = 1 - 1.4 * np.exp(-np.maximum(w.t, 0) * 3 / tau) + .4 * np.exp(-np.maximum(w.t, 0) / tau)
    x = np.where(w.t < 0, 1., np.maximum(x, 0)) * (1 + .02 * wander(w, 1200))
    w.t = w.t + prior * HOUR
    heap, flying = background(w, w.lu(.004, .03))
    return Story(w, w.u(.1, .35), share * x + heap, restarts=(prior * HOUR,), startup=w.lu(3, 60), in_flight=flying)


def cache(rng, k):
    fill = float(np.exp(rng.uniform(np.log(.7), np.log(14))))
    w = World(rng, fill * rng.uniform(2.5, 7), wave=float(rng.choice([0., .25])))
    share, fill = w.u(.06, .4), fill * HOUR
    if k % 5 == 0:                                               # every key is new until the cap
        share = w.u(.03, .07)
        x = np.minimum(np.cumsum(w.load) * w.dt / fill, 1)
    elif k % 5 == 1:
        x = distinct(w, fill, w.u(.7, 1.1), w.u(.3, .8))
    elif k % 5 == 2:
        share = w.u(.03, .07)
        x = ttl(w, fill)
    elif k % 5 == 3:
        x = distinct(w, 2 * fill, w.u(.1, .5), .985)
    else:
        x = 1 - np.exp(-np.cumsum(w.load) * w.dt / fill * 2.5)
    heap, flying = background(w, w.lu(.004, .04))
    restarts = (w.u(.5, .8) * w.n * w.dt,) if k in (1, 6) else ()
    if restarts:
        i = int(restarts[0] / w.dt)
        x = np.concatenate((x[:i], x[:w.n - i]))
    return Story(w, w.u(.1, .4), share * x * (1 + .008 * wander(w, HOUR)) + heap, restarts=(0.,) + restarts,
                 startup=w.lu(3, 40), in_flight=flying, rss_only=k == 4)


def diurnal(rng, k):
    w = World(rng, rng.uniform(2.2, 6) * 24, wave=rng.uniform(.3, .85),
              weekend=rng.uniform(0, .4) if k % 3 == 0 else 0.)
    x = sessions(w, w.lu(200, 5000), w.lu(300, 5 * HOUR))
    flying = w.rng.poisson(w.lu(5, 200) * w.load) if w.coin(.3) else None
    s = Story(w, w.u(.1, .4), w.u(.05, .3) * x + background(w, .02)[0], in_flight=flying, rss_only=k == 6)
    s.purge = w.lu(10, 4 * HOUR)
    return s


def weekly(rng, k):
    w = World(rng, rng.uniform(9, 14) * 24, wave=rng.uniform(.2, .7), weekend=rng.uniform(.35, .8))
    x = sessions(w, w.lu(300, 4000), w.lu(600, 6 * HOUR))
    return Story(w, w.u(.1, .35), w.u(.06, .3) * x + background(w, .02)[0])


def sawtooth(rng, k):
    period = float(np.exp(rng.uniform(np.log(.15), np.log(7))))
    w = World(rng, period * float(np.exp(rng.uniform(np.log(9), np.log(40)))))
    size, period = w.u(.06, .35), period * HOUR
    if k % 4 == 0:
        x = memtable(w, period)
    elif k % 4 == 1:                                             # small teeth on a large one
        x = .3 * memtable(w, period / w.u(4, 9)) + .7 * memtable(w, period)
    elif k % 4 == 2:                                             # several tables, out of step
        x = sum(memtable(w, period * w.u(.7, 1.4)) for _ in range(3)) / 3
    else:                                                        # a lazy collector, which leaves a varying rest
        x = memtable(w, period, .2, remains=.25)
    return Story(w, w.u(.1, .4), size * x + background(w, w.lu(.004, .03))[0], rss_only=k == 10)


def steps(rng, k):
    """Another model, another tenant, another flag: a level, then another. Some hold the old and the new for a while."""
    w = World(rng, rng.uniform(.8, 4.5) * 24)
    at = np.sort(w.rng.uniform(.08, .9, int(rng.integers(1, 5)))) * w.n * w.dt
    jumps = w.rng.choice([1, 1, -1], len(at)) * w.rng.uniform(.02, .18, len(at))
    level = pulses(w, at, np.full(len(at), 1e9), np.maximum(jumps, 0)) + np.maximum(-jumps, 0).sum()
    level = level - pulses(w, at, np.full(len(at), 1e9), np.maximum(-jumps, 0))
    if k % 2:
        level = level + pulses(w, at - 300, w.rng.uniform(300, 1800, len(at)), np.abs(jumps) + .04)
    heap, flying = background(w, w.lu(.005, .05))
    return Story(w, w.u(.1, .35), level + heap, restarts=tuple(at) if k % 3 == 0 else (), startup=w.lu(5, 120),
                 in_flight=flying)


def batch(rng, k):
    every = float(rng.choice([.5, 1, 2, 4, 6, 12, 24]))
    w = World(rng, max(every * rng.uniform(7, 30), 6) if every < 24 else 24 * rng.uniform(3, 8))
    at = timetable(w, every * HOUR, w.lu(.005, .1))
    lasting = w.rng.gamma(5, 1 / 5, len(at)) * w.u(.05, .35) * every * HOUR
    x = jobs(w, at, lasting, w.rng.gamma(w.u(3, 30), 1., len(at)), int(rng.integers(1, 40)))
    x = x / x.max()
    share = w.lu(.06, .4) if lasting.max() < 400 else w.lu(.03, .07)
    return Story(w, w.u(.1, .4), share * x + background(w, w.lu(.005, .04))[0], rss_only=k == 8)


def retention(rng, k):
    """Bursts; live bytes fall back, pages do not, or take their time."""
    w = World(rng, float(np.exp(rng.uniform(np.log(8), np.log(90)))))
    at = np.sort(w.rng.uniform(.05, .85, int(rng.integers(1, 5)))) * w.n * w.dt
    size = w.lu(.06, .35) * w.rng.uniform(.5, 1, len(at))
    x = jobs(w, at, w.lu(120, 300) * w.rng.gamma(9, 1 / 9, len(at)), size, 10)
    s = Story(w, w.u(.1, .35), x + background(w, w.lu(.005, .03))[0], rss_only=k == 7)
    s.purge = w.lu(3 * HOUR, 400 * HOUR)
    s.unpin = w.lu(60, 5 * HOUR) if k % 3 else w.lu(5 * HOUR, 100 * HOUR)
    return s


def inflight(rng, k):
    """A campaign, a slow dependency: much in flight for hours, and memory with it."""
    w = World(rng, float(np.exp(rng.uniform(np.log(8), np.log(90)))), wave=float(rng.choice([0., .4])))
    at = w.moments(w.lu(2, 8) / (w.n * w.dt / HOUR))
    lasting = w.rng.gamma(4, 1 / 4, len(at)) * w.u(.06, .25) * w.n * w.dt
    surge = jobs(w, at, lasting, w.rng.uniform(.5, 2.5, len(at)), 30)
    w.load = w.load * np.exp(w.u(.1, .4) * wander(w, w.lu(1800, 8 * HOUR))) * (1 + surge)
    _, count = requests(w, w.lu(8, 300))
    held = count * (1 + .1 * w.rng.normal(size=w.n) / np.sqrt(np.maximum(count, 1)))
    lag = np.exp(-w.dt / w.lu(1, 200))
    held = decay(held * (1 - lag), lag, held[0])
    return Story(w, w.u(.1, .35), w.lu(.08, .4) * held / held.max() + background(w, .01)[0], in_flight=count)


def wandering(rng, k):
    w = World(rng, rng.uniform(.6, 4.5) * 24)
    width = w.u(.05, .22)
    if k % 3 == 0:                                               # a walk between two walls
        walk = np.cumsum(w.rng.normal(0, np.sqrt(w.dt / w.lu(2 * HOUR, 30 * HOUR)), w.n))
        out = width * np.abs((walk + w.u(0, 2)) % 2 - 1)
    elif k % 3 == 1:                                             # mapped files, each wanted for a while
        start = np.concatenate((np.zeros(15), w.moments(w.lu(1, 6))))
        hold = w.rng.exponential(w.lu(2 * HOUR, 9 * HOUR), len(start))
        out = pulses(w, start, hold, w.rng.gamma(1.5, 1., len(start)))
        out = width * out / out.max()
    else:
        out = np.maximum(width * (.5 + .2 * wander(w, w.lu(2 * HOUR, 14 * HOUR))), 0)
    heap, flying = background(w, w.lu(.005, .04))
    return Story(w, w.u(.1, .4), heap, outside=out, in_flight=flying, rss_only=k == 6)


def deploys(rng, k):
    w = World(rng, rng.uniform(1.5, 6) * 24, wave=float(rng.choice([0., .3])))
    at = np.cumsum(w.rng.exponential(w.lu(4, 26) * HOUR, 60) + HOUR)
    level = np.exp(w.u(.05, .25) * w.rng.normal(size=61))[np.searchsorted(at, w.t)]
    heap, flying = background(w, w.lu(.01, .08))
    heap = (w.u(.1, .35) + w.u(.02, .1) * sessions(w, 900, w.lu(300, 2 * HOUR))) * level + heap
    return Story(w, w.u(.05, .3), heap, restarts=tuple(at), startup=w.lu(5, 20 * MINUTE), in_flight=flying)


# ---------------------------------------------------------------- paper

def scraped(s, up):
    """Which rows a scraper brought home: single misses, and an outage or two."""
    w, keep = s.w, up.copy()
    if w.coin(.4):
        keep &= w.rng.random(w.n) > w.lu(5e-4, .02)
    short = min(2 * HOUR, max(90., .04 * (s.deadline - s.onset))) if s.klass else 2 * HOUR
    for _ in range(int(w.rng.choice([0, 0, 0, 1, 2, 3]))):
        i = int(w.rng.integers(w.n))
        keep[i:i + int(min(w.lu(90, 2 * HOUR), short) / w.dt) + 1] = False
    keep[0] = keep[-1] = True
    return keep


def write(s, path):
    w = s.w
    values, up = live(s)
    if not s.klass and values[3].max() > s.peak:
        values *= s.peak / values[3].max()
    keep = scraped(s, up)
    clock = w.t
    if w.coin(.3):
        clock = np.round(np.maximum.accumulate(np.maximum(w.t + w.rng.normal(0, .015 * w.dt, w.n), 0)), 3)
    else:
        clock = clock.astype(np.int64)
    size = np.maximum(values * w.limit, 65536).astype(np.int64)
    size[:2] &= ~15
    size[1:] &= ~4095
    size[1] = np.maximum(size[1], size[0] + 4095 & ~4095)
    size[2] = np.maximum(size[2], size[1])
    names = ["allocated_bytes", "active_bytes", "resident_bytes", "rss_bytes"]
    columns = {"seconds": clock, **({} if s.rss_only else dict(zip(names, size))), "rss_bytes": size[3],
               "limit_bytes": np.full(w.n, w.limit)}
    if s.in_flight is not None and not s.rss_only:
        columns["in_flight"] = s.in_flight
    text = zip(*(map(str, np.asarray(c)[keep].tolist()) for c in columns.values()))
    with open(path, "w") as f:
        f.write(",".join(columns) + "\n" + "\n".join(map(",".join, text)) + "\n")


def main(seed, folder):
    os.makedirs(folder, exist_ok=True)
    order = [(kind, k) for kind, many in KINDS for k in range(many)]
    names = np.random.default_rng([seed, 99]).permutation(len(order))
    labels = []
    for i, (kind, k) in enumerate(order):
        rng, s = np.random.default_rng([seed, 3, i]), None
        while s is None:
            s = globals()[kind](rng, k)
        name = f"trace{names[i]:03d}.csv"
        write(s, os.path.join(folder, name))
        leak = bool(s.klass)
        labels.append((name, kind, int(leak), f"{s.onset:.0f}" if leak else "", f"{s.deadline:.0f}" if leak else "",
                       s.klass, f"{s.slope:.6g}" if leak else "0", s.w.limit))
    with open(os.path.join(folder, "labels.csv"), "w") as f:
        f.write("file,kind,leak,onset,deadline,class,slope_bytes_per_second,limit_bytes\n")
        f.writelines(",".join(map(str, row)) + "\n" for row in sorted(labels))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
