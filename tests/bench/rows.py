"""The rows of the bench table: which commands measure each, and what is aimed for."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Target:
    """`of` is "ratio" (ours / peer) or "ours"; `sign` is "<=" or ">="."""

    sign: str
    value: float
    of: str = "ratio"

    def met(self, ours, ratio):
        figure = ours if self.of == "ours" else ratio
        if figure is None:
            return None
        return figure <= self.value if self.sign == "<=" else figure >= self.value

    def text(self, unit):
        suffix = " x" if self.of == "ratio" else f" {unit}"
        return f"{self.sign} {self.value:g}{suffix}"


@dataclass(frozen=True)
class Row:
    id: str
    what: str
    # Ours first. Of the build directory's bin/; "cargo:NAME" is a Rust program, "script:NAME" a
    # script of this folder.
    programs: tuple
    target: Target = None
    rounds: int = 5
    # Targets of single cases: the first whose key is part of the case's name wins.
    targets: dict = field(default_factory=dict)

    def target_of(self, case):
        for part, target in self.targets.items():
            if part in case:
                return target
        return self.target


ROWS = (
    Row(
        "reserve_1t",
        "try_grow + shrink of 4 KiB, and of mixed sizes, from slack, 1 thread",
        ("bench_reserve", "cargo:datafusion_peer"),
        Target("<=", 0.7),
    ),
    Row(
        "reserve_2t",
        "the same, 2 threads",
        ("bench_reserve", "cargo:datafusion_peer"),
        Target("<=", 0.3),
        targets={"one consumer": Target("<=", 0.7), "one reservation": Target("<=", 0.7)},
    ),
    Row(
        "reserve_floor",
        "the same, plain, against one atomic addition",
        ("bench_reserve",),
        Target("<=", 4),
    ),
    Row(
        "acquire_hot",
        "acquire of a lease through the daemon, 1 client, against an empty gRPC echo",
        ("bench_acquire",),
        targets={"hand-offs": Target("<=", 1.2), "polling": Target("<=", 1.5)},
    ),
    Row(
        "acquire_idle",
        "the same after 1 s of idling",
        ("bench_acquire",),
        rounds=1,  # takes two minutes, and each sample has its own second before it
        targets={"p50": Target("<=", 1.2), "p99": Target("<=", 5000, of="ours")},
    ),
    Row(
        "acquire_16c",
        "acquires per second of 16 clients, each waiting for its own",
        ("bench_acquire",),
        Target(">=", 0.9),
    ),
    Row(
        "revoke_slack",
        "acquire until granted while another client holds all as slack",
        ("bench_acquire",),
        targets={"p50": Target("<=", 1.5)},
    ),
    Row(
        "session_memory",
        "anonymous memory of the daemon per idle session",
        ("bench_acquire",),
        Target("<=", 1.2),
    ),
    Row(
        "core_rate",
        "decisions of the core: 50 % acquire, 40 % release, 10 % inventory, 95 % full",
        ("bench_core_rate",),
        targets={
            "rate": Target(">=", 1, of="ours"),
            "visits": Target("<=", 2),
            "time": Target("<=", 4),
        },
    ),
    Row(
        "core_memory",
        "memory of the core per session",
        ("bench_core_memory",),
        Target("<=", 1024, of="ours"),
        rounds=1,  # the heap does not vary
    ),
    Row(
        "spill_write",
        "spill write, incompressible, 1 MiB batches, fresh file",
        ("script:spill_write.py",),
        Target(">=", 0.9),
    ),
    Row(
        "spill_read",
        "spill read-back of the same, in order",
        ("script:spill_write.py",),
        Target(">=", 0.9),
    ),
    Row(
        "spill_page_cache",
        "page cache of the machine grown by spilling 2 GiB and reading them back, twice",
        ("script:spill_write.py",),
        Target("<=", 32, of="ours"),
    ),
    Row(
        "external_sort",
        "sort of a file 8 x the memory, one thread, same temporary directory",
        ("script:external_sort.py",),
        Target("<=", 1.0),
    ),
    Row(
        "two_jobs",
        "two sorts with different phases under one broker, against a static half each",
        ("script:two_jobs.py",),
        rounds=3,  # a minute or two each, two passes of both ways in it
        targets={
            "makespan": Target("<=", 0.8),
            "peak of leases": Target("<=", 1, of="ours"),
            "peak of debt": Target("<=", 0, of="ours"),
            "peak of RssAnon": Target("<=", 1.06, of="ours"),  # 16 MiB a process beside its lease
        },
    ),
    Row(
        "two_jobs_throttled",
        "the same while the disk does 400 MB/s",
        ("script:two_jobs.py",),
        rounds=3,  # a minute or two each, two passes of both ways in it
        targets={
            "makespan": Target("<=", 0.8),
            "peak of leases": Target("<=", 1, of="ours"),
            "peak of debt": Target("<=", 0, of="ours"),
            "peak of RssAnon": Target("<=", 1.06, of="ours"),  # 16 MiB a process beside its lease
        },
    ),
)
