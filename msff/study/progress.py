"""The progress of a study that runs in many processes, as one bar."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm


class Bar:
    """One progress bar over the whole study, fed by the notebooks' own training progress; says what remains."""

    def __init__(self, total: float, count: int, jobs: int, folder: Path):
        self._interactive = sys.stderr.isatty()
        self._period = 0.5 if self._interactive else 20.0
        self._bar = tqdm(
            total=max(total, 1e-9), mininterval=self._period, file=sys.stderr, dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar:20}| {elapsed} gone{postfix}",
        )  # fmt: skip
        self._count, self._jobs, self._folder = count, jobs, folder
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._active: dict[str, tuple[float, float]] = {}  # step -> expected seconds, begin
        self._finished, self._begun, self._started = 0.0, 0, time.monotonic()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._bar.n = self._bar.total
        self._bar.set_postfix_str("done" if kind is None else "stopped", refresh=True)
        self._bar.close()

    @contextmanager
    def step(self, name: str, expected: float) -> Iterator[None]:
        """A step under way for the length of the block."""
        with self._lock:
            self._begun += 1
            self._active[name] = (max(expected, 1e-9), time.monotonic())
        if not self._interactive:
            self._refresh()
        try:
            yield
        finally:
            with self._lock:
                self._finished += self._active.pop(name)[0]

    def _watch(self) -> None:
        while not self._stop.wait(self._period):
            self._refresh()

    def _refresh(self) -> None:
        training = self._training()
        with self._lock:
            parts, inside = [], 0.0
            for name, (expected, began) in self._active.items():
                share = min((time.monotonic() - began) / expected, 0.95)
                state = next((t for t in training if name.endswith(t["label"].replace("/", "--"))), None)
                parts.append(name.removeprefix("07-train--"))
                if state:
                    share = max(share, 0.95 * state["done"])
                    parts[-1] += f" epoch {state['epoch']}/{state['epochs']}"
                inside += share * expected
            self._bar.n = max(self._bar.n, min(self._finished + inside, self._bar.total))
            gone, share = time.monotonic() - self._started, self._bar.n / self._bar.total
            # Trust the plan at first and the measured pace more and more.
            planned = (self._bar.total - self._bar.n) / self._jobs
            paced = gone * (1 - share) / share if share > 0 else planned
            left = (1 - share) * planned + share * paced
            text = f"about {clock(left)} left, run {self._begun}/{self._count}: {', '.join(parts)}"
            self._bar.set_postfix_str(text, refresh=True)

    def _training(self) -> list[dict]:
        """What the kernels that train report right now."""
        states = []
        for path in self._folder.glob("*.json"):
            try:
                states.append(json.loads(path.read_text()))
            except (OSError, json.JSONDecodeError):
                continue  # gone or being replaced: the next look finds it
        return [s for s in states if s["done"] < 1]


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
