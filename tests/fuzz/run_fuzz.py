"""``make fuzz``: ten minutes of coverage-guided fuzzing (``FUZZ_SECONDS``), the same seed each time, every target its share.

What is found is written to ``.gateway/fuzz/`` and makes the run fail; ``python tests/fuzz/run_fuzz.py TARGET FILE`` runs one input again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLACE = ROOT / ".gateway" / "fuzz"
SEED = 20260301
INSTRUMENTED = ("gateway", "jmespath", "yaml")


def one(target: str, arguments: list[str]) -> None:
    """Fuzz a target in this process; ends the process."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=list(INSTRUMENTED)):
        from tests.support.fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()


def prepared(target: str) -> tuple[Path, Path]:
    """Write the seeds and the dictionary of a target; return where they are."""
    sys.path.insert(0, str(ROOT))
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


def main() -> int:
    """Fuzz every target for its share of the time; return 1 when any of them found something."""
    targets = ("decode", "decoders", "select", "casts", "language")
    share = max(1, int(os.environ.get("FUZZ_SECONDS", "600")) // len(targets))
    failed = []
    for target in targets:
        corpus, words = prepared(target)
        flags = [
            f"-max_total_time={share}",
            f"-seed={SEED}",
            f"-dict={words}",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=1024",
        ]
        done = subprocess.run(
            [sys.executable, __file__, target, *flags, f"-artifact_prefix={PLACE}/{target}-", "-print_final_stats=1", str(corpus)],
            capture_output=True, text=True, errors="replace", check=False, cwd=ROOT,
        )  # fmt: skip
        runs = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
        reached = re.findall(r"cov: (\d+) ft: (\d+)", done.stderr)
        peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", done.stderr)
        sys.stdout.write(
            f"{target:<9} {share} s  {int(runs[1]) if runs else 0:>9,} inputs  {reached[-1][0] if reached else '?':>6} places reached  "
            f"{peak[1] if peak else '?':>4} MB  {'nothing found' if done.returncode == 0 else 'FOUND SOMETHING'}\n"
        )
        sys.stdout.flush()
        if done.returncode:
            failed.append(target)
            sys.stdout.write(done.stderr[-3000:] + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one(sys.argv[1], sys.argv[2:])
    sys.exit(main())
