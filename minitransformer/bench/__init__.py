"""How fast, how large, and how cost grows: the instrument behind `minitransformer bench`.

A number of milliseconds means little without knowing what was timed, beside what, and on a machine how busy. So:

- **One engine, one process.** Two matrix libraries in one process fight for the cores with their threads, which wait
  for work in a loop. Each engine runs in a process of its own, and answers one question at a time (worker.py,
  process.py).
- **Alternating, in pairs.** A machine's speed drifts by more than the differences of interest. The engines take turns
  of a few seconds, and each turn is divided by the other engine's turn beside it. A whole round is repeated with new
  processes, since where memory happens to lie makes one process faster than the next; the interval of the ratio is
  over rounds (rounds.py, pairing.py).
- **The same work.** The rivals' models are given the same weights and the same batches, and their first steps must
  have the same losses before anything is timed.
- **Bare, where one thing is compared.** `--plain` tells what it costs that the textbook is written to be read: it and
  the engine (module.py) each train in one process, without replicas, so that nothing else differs.
- **Beside what the machine can do.** The best matrix product and the fastest read of memory that any of the processes
  reaches, in the same run, are the yardstick (peak.py).
- **On a quiet machine, or it says so.** During every turn, the time that other processes took from the cores is
  measured (load.py).

In reading order:

    sizes.py         the named sizes                                    SIZES, Size
    numpy_engine.py  a training step and decoding, as this package does them
    torch_model.py   the same model in PyTorch
    torch_engine.py  the same step and decoding; eager, fused, compiled
    load.py          who else used the processor
    timing.py        the time of calls
    memory.py        the peak of a call above the level before it
    peak.py          what the machine can do: products, reading memory
    products.py      the time in matrix products, measured where they stand
    components.py    the time in each file of the package, forward and backward
    worker.py        the process that measures one engine
    process.py       the other end of the pipe
    pairing.py       medians, quartiles, ratios in pairs and their interval
    rounds.py        the whole measurement of one size
    beside.py        the time beside busy processes, and a fair share of it
    results.py       the numbers that the tables show
    growth.py        exponents: how fast a cost grows
    scaling.py       what `bench --scaling` measures
    report.py        tables
    pictures.py      pictures

PyTorch is imported in its own process alone; nothing else here needs it.
"""
