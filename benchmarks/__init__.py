"""What the guard costs: `python -m benchmarks` measures it, prints tables, and writes a JSON file and a picture."""

import os

# The profiler, which counts memory, logs each of its starts; it reads this where torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
