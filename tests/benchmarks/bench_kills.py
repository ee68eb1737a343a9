"""Thirty SIGKILLs at random moments over the micro scaling study, then equality with an undisturbed one, bit for bit.

`PYTHONPATH=. python tests/benchmarks/bench_kills.py ROOT [KILLS]`, where ROOT holds the micro stores of units
(`SLM_ROOT=ROOT python -m data prepare`), and is where the undisturbed study is trained unless it was. A quarter of an
hour.
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.experiments.kills import facts, kill_and_finish

if __name__ == "__main__":
    calm, kills = Path(sys.argv[1]).absolute(), int(sys.argv[2]) if len(sys.argv) > 2 else 30
    study = [sys.executable, "-m", "experiments", "train", "scaling", "--scale", "micro"]
    subprocess.run(study, env=os.environ | {"SLM_ROOT": str(calm)}, check=True)
    seed = random.randrange(10**6)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stores").symlink_to(calm / "stores")
        done = kill_and_finish(study, Path(folder), kills, random.Random(seed), 10.0)
        one, other = facts(calm), facts(Path(folder))
    mine = [name for name in other if one.get(name) != other[name]]
    print(f"{done} kills (seed {seed}); {len(other)} files of rows and states compared, {len(mine)} differ: {mine}")
    sys.exit(bool(mine))
