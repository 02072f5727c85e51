"""What was seen, as text: the live plot's lines, the checks and the table at the end."""

import filecmp

MIB = 1 << 20
RSS_ALLOWANCE = 16 * MIB  # of a client beside what it has reserved: code, stacks, gRPC
PLOT_WIDTH = 48
MARKS = "#=+*"


def format_bytes(count):
    if count >= 1 << 30:
        return f"{count / (1 << 30):.2f} GiB"
    return f"{count / MIB:.1f} MiB"


def draw_sample(sample, tenants):
    """One line: time, the budget as a bar (a mark per tenant), who holds what."""
    bar = ""
    for tenant, mark in zip(tenants, MARKS):
        bar += mark * round(sample.by_tenant.get(tenant, 0) / sample.capacity * PLOT_WIDTH)
    held = "  ".join(
        f"{mark} {tenant} {sample.by_tenant.get(tenant, 0) / MIB:5.1f}"
        for tenant, mark in zip(tenants, MARKS)
    )
    asked = f"  revoking {sample.revoking / MIB:.1f}" if sample.revoking else ""
    return f"{sample.time_s:6.1f} s |{bar.ljust(PLOT_WIDTH, '.')[:PLOT_WIDTH]}| {held} MiB{asked}"


class Report:
    def __init__(self, sorts, samples, capacity, tenants):
        self._sorts = sorts
        self._samples = samples
        self._capacity = capacity
        self._stats = [sort.stats() for sort in sorts]
        self._rows = []  # what, seen, bound, passed (None: shown only)
        self._check_budget()
        self._check_shares(tenants)
        for sort, stats in zip(sorts, self._stats):
            self._check_client(sort, stats)

    def passed(self):
        return all(row[3] is not False for row in self._rows)

    def _row(self, what, seen, bound="", passed=None):
        self._rows.append((what, str(seen), str(bound), passed))

    def _check_budget(self):
        samples = self._samples
        peak = max(max(s.leases, s.held) for s in samples)
        self._row(f"sum of leases, peak of {len(samples)} samples", format_bytes(peak),
                  f"<= {format_bytes(self._capacity)}", peak <= self._capacity)
        last = samples[-1].totals
        ever = int(last.get("peak_held_bytes", 0))
        self._row("sum of leases, the daemon's own peak", format_bytes(ever),
                  f"<= {format_bytes(self._capacity)}", 0 < ever <= self._capacity)
        debt = max(max(s.debt for s in samples), int(last.get("peak_debt_bytes", 0)))
        self._row("overdraft, peak", format_bytes(debt), "= 0", debt == 0)
        for key in ("revoked_count", "revoke_answered_count", "revoke_late_count"):
            name = key.removesuffix("_count").replace("revoked", "asked").replace("revoke_", "")
            self._row(f"revocations {name}, by the daemon", int(last.get(key, 0)))

    def _held(self, tenant, begin, end):
        started = self._sorts[0].started
        return [
            s.by_tenant.get(tenant, 0) for s in self._samples if begin <= s.time_s + started < end
        ]

    def _check_shares(self, tenants):
        first, second = self._sorts
        # Weighted max-min fairness: of what the guarantees leave, each gets by its weight.
        weights = [tenants[sort.tenant]["weight"] for sort in self._sorts]
        guarantees = [tenants[sort.tenant]["guarantee"] for sort in self._sorts]
        surplus = self._capacity - sum(guarantees)
        shares = [g + surplus * w // sum(weights) for g, w in zip(guarantees, weights)]
        alone = max(s.by_tenant.get(first.tenant, 0) for s in self._samples
                    if not s.by_tenant.get(second.tenant))
        self._row(f"{first.tenant} alone got", format_bytes(alone),
                  f">= 90% of {format_bytes(self._capacity)}", alone >= 0.9 * self._capacity)
        overlap_end = min(first.ended, second.ended)
        least = min(self._held(first.tenant, second.started + 0.5, overlap_end), default=alone)
        self._row(f"{first.tenant} then gave up to", format_bytes(least),
                  f"about its share, {format_bytes(shares[0])}", least <= 1.1 * shares[0])
        both = max(self._held(second.tenant, second.started, overlap_end), default=0)
        self._row(f"{second.tenant} beside it reached", format_bytes(both),
                  f"about its share, {format_bytes(shares[1])}", both >= 0.9 * shares[1])
        survivor, share = (second, shares[1]) if first.ended < second.ended else (first, shares[0])
        after = max(self._held(survivor.tenant, overlap_end, survivor.ended), default=0)
        self._row(f"{survivor.tenant}, the survivor, grew to", format_bytes(after),
                  f">= 1.25 x its share, {format_bytes(share)}", after >= 1.25 * share)

    def _check_client(self, sort, stats):
        name = sort.tenant
        peak = stats["lease_peak_bytes"]
        bound = peak + RSS_ALLOWANCE
        self._row(f"{name}: RssAnon+RssShmem, peak of {sort.rss.samples} samples",
                  format_bytes(sort.rss.peak), f"<= {format_bytes(peak)} leased + 16 MiB",
                  0 < sort.rss.peak <= bound)
        self._row(f"{name}: sorted",
                  f"{format_bytes(stats['input_bytes'])} in {stats['seconds']:.1f} s")
        self._row(f"{name}: spilled",
                  f"{format_bytes(stats['spilled_bytes'])} in {stats['runs']} runs",
                  "> 0", stats["spilled_bytes"] > 0)
        revocations = [stats[f"revocations_{word}"] for word in ("asked", "answered", "late")]
        self._row(f"{name}: revocations asked, answered, late",
                  "{}, {}, {}".format(*revocations), "late = 0", revocations[2] == 0)
        self._row(f"{name}: overdrawn", stats["overdrawn_total_bytes"], "= 0",
                  stats["overdrawn_total_bytes"] == 0)

    def add_outcome(self, daemon_status, gnu_outputs, seconds, gnu_seconds):
        for sort, output in zip(self._sorts, gnu_outputs):
            same = filecmp.cmp(sort.output, output, shallow=False)
            self._row(f"{sort.tenant}: output beside GNU sort's", "same" if same else "DIFFERENT",
                      "same", same)
        asked = sum(stats["revocations_asked"] for stats in self._stats)
        self._row("revocations asked of both", asked, "> 0", asked > 0)
        self._row("membrokerd's exit status on SIGTERM", daemon_status, "= 0", daemon_status == 0)
        half = format_bytes(self._capacity // 2)
        self._row("both sorted after", f"{seconds:.1f} s",
                  f"one budget of {format_bytes(self._capacity)}")
        self._row("both by GNU sort --parallel=1 after", f"{gnu_seconds:.1f} s",
                  f"{half} each: the same memory, split")
        self._row("ours / GNU's", f"{seconds / gnu_seconds:.2f}")

    def text(self):
        widths = [max(len(row[i]) for row in self._rows) for i in range(3)]
        marks = {True: "ok", False: "FAILED", None: ""}
        lines = [""]
        for what, seen, bound, passed in self._rows:
            lines.append(f"  {what.ljust(widths[0])}  {seen.rjust(widths[1])}  "
                         f"{bound.ljust(widths[2])}  {marks[passed]}".rstrip())
        failed = sum(row[3] is False for row in self._rows)
        lines.append("")
        lines.append(f"{failed} checks FAILED" if failed else "all checks passed")
        return "\n".join(lines)
