"""``make fuzz``: coverage-guided fuzzing of all targets for ``FUZZ_SECONDS`` (10 minutes).

Each target gets an equal share of the time of ``FUZZ_JOBS`` processors. ``FUZZ_SEED`` gives other
random numbers; the same seed gives the same inputs. ``FUZZ_TARGETS`` names the targets to run.

A finding makes the run fail. Its input is written to ``.gateway/fuzz/``, and
``python tests/fuzz/run_fuzz.py TARGET FILE`` runs it again.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLACE = ROOT / ".gateway" / "fuzz"
SEED = 20260301
INSTRUMENTED = ("gateway", "jmespath", "yaml")
LIMITS = ("-max_len=4096", "-timeout=20", "-rss_limit_mb=600")
"""libFuzzer ends a process that exceeds these. The targets themselves measure each input."""
STRUCTURED_SHARE = 0.5
"""The share of the changes that follow the structure of an input. libFuzzer makes the others."""


@dataclass(frozen=True)
class Result:
    """What one target did."""

    target: str
    seconds: float
    inputs: int
    places: str
    memory_mb: str
    found: list[Path]
    output: str
    """The end of the output of a process that failed, or an empty text."""

    def __str__(self) -> str:
        state = "FOUND SOMETHING" if self.output else "nothing found"
        return (
            f"{self.target:<17}{self.seconds:5.0f} s {self.inputs:>10,} inputs "
            f"{self.places:>6} places {self.memory_mb:>5} MB  {state}"
        )


def fuzz_here(target: str, arguments: list[str]) -> None:
    """Fuzz a target in this process; ends the process."""
    import atheris
    import structlog

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.support.fuzz_seeds import SEEDS
        from tests.support.fuzz_targets import TARGETS
    from tests.support.fuzz_mutations import mutate

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < STRUCTURED_SHARE:
            return mutate(data, chance, SEEDS[target], longest)
        return bytes(atheris.Mutate(data, longest))

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target], custom_mutator=change)
    atheris.Fuzz()


def prepare(target: str) -> tuple[Path, Path]:
    """Write the seeds and the dictionary of a target; return where they are."""
    from tests.support.fuzz_seeds import SEEDS, WORDS

    corpus, words = PLACE / target, PLACE / f"{target}.dict"
    corpus.mkdir(parents=True, exist_ok=True)
    for old in corpus.iterdir():
        old.unlink()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number:03}").write_bytes(seed)
    quoted = (re.sub(r'(?<!\\)"', r"\"", word) for word in WORDS[target])
    words.write_text("".join(f'"{word}"\n' for word in quoted))
    return corpus, words


def fuzz_apart(target: str, seconds: int, seed: int) -> Result:
    """Fuzz a target in a process of its own."""
    corpus, words = prepare(target)
    prefix = f"{PLACE}/{target}-"
    began, started = time.time(), time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, __file__, target, f"-max_total_time={seconds}", f"-seed={seed}"),
            *(f"-dict={words}", *LIMITS, f"-artifact_prefix={prefix}", "-print_final_stats=1"),
            str(corpus),
        ],
        capture_output=True, text=True, errors="replace", check=False, cwd=ROOT,
    )  # fmt: skip
    inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    places = re.findall(r"cov: (\d+) ft: \d+", done.stderr)
    peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", done.stderr)
    return Result(
        target,
        time.monotonic() - started,
        int(inputs[1]) if inputs else 0,
        places[-1] if places else "?",
        peak[1] if peak else "?",
        [file for file in sorted(PLACE.glob(f"{target}-*")) if file.stat().st_mtime >= began],
        f"{done.stdout[-3000:]}\n{done.stderr[-600:]}" if done.returncode else "",
    )


def main() -> int:
    """Fuzz every target for its share of the time; return 1 when any of them found something."""
    sys.path.insert(0, str(ROOT))
    from tests.support.fuzz_targets import TARGETS

    names = os.environ.get("FUZZ_TARGETS", "").split() or list(TARGETS)
    jobs = int(os.environ.get("FUZZ_JOBS", "0")) or min(2, os.cpu_count() or 1)
    seconds = int(os.environ.get("FUZZ_SECONDS", "600")) * jobs
    seed = int(os.environ.get("FUZZ_SEED", SEED))
    print(f"seed {seed}, {len(names)} targets, {jobs} at a time", flush=True)
    has_failed = False
    with ThreadPoolExecutor(jobs) as pool:
        share = max(1, seconds // len(names))
        for result in pool.map(lambda name: fuzz_apart(name, share, seed), names):
            print(result, flush=True)
            if result.output:
                has_failed = True
                print(result.output)
                for file in result.found:
                    print(
                        f"again: python tests/fuzz/run_fuzz.py {result.target} {file}", flush=True
                    )
    return 1 if has_failed else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fuzz_here(sys.argv[1], sys.argv[2:])
    sys.exit(main())
