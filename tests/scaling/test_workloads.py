# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: one CPU takes the sum of its costs; each design frees what it should and loses no count."""

from __future__ import annotations

import pytest

pytest.importorskip("simpy")

from benchmarks.scaling import campaign, published
from benchmarks.scaling.designs import Design, PmdTable, Slot
from benchmarks.scaling.machine import Machine
from benchmarks.scaling.parameters import Parameters, calibrated, described
from benchmarks.scaling.workloads import PAGES, Pattern, Vmas, Workload, simulate

PLAIN = Parameters(jitter=0, transfer=60, lock_handoff=70, far=1)


def run(pattern, design, cpus=1, rounds=2.0, vmas=Vmas.OWN, parameters=PLAIN, seed=0):
    return simulate(Workload(pattern, vmas, design, cpus, rounds, seed), parameters)


@pytest.mark.parametrize("sections", [False, True])
def test_one_cpu_without_a_count_takes_what_was_measured(sections):
    workload = Workload(Pattern.AREAS, Vmas.OWN, Design.NONE, 1, 2.0, sections=sections)
    figures = simulate(workload, PLAIN)
    expected = PLAIN.fault + PLAIN.zap_page + PLAIN.zap_call / PAGES
    assert figures.ns_per_fault == pytest.approx(expected, rel=1e-3)
    assert figures.transfers_per_fault == figures.lock_waits_per_fault == 0


@pytest.mark.parametrize(
    ("design", "a_fault"),
    [
        (Design.PMD_LOCK, PLAIN.lock + PLAIN.atomic),
        (Design.RCU, PLAIN.rcu_read + PLAIN.atomic),
        (Design.PER_CPU, PLAIN.rcu_read + PLAIN.percpu_pair / 2),
    ],
)
@pytest.mark.parametrize("sections", [False, True])
def test_one_cpu_with_a_count_adds_its_costs(design, a_fault, sections):
    """A visit in each fault; for 512 of them, one table made, counted, zapped and freed. Where a
    lookup without a count is a read section too, that is none of the costs.
    """
    figures, without = (
        simulate(Workload(Pattern.LOOP, Vmas.OWN, each, 1, 2.0, sections=sections), PLAIN)
        for each in (design, Design.NONE)
    )
    added = figures.ns_per_fault - without.ns_per_fault
    a_fault -= PLAIN.rcu_read if sections else 0
    a_table = PLAIN.table_free + 10 * (PLAIN.lock + PLAIN.atomic)
    assert a_fault * 0.99 < added < a_fault + a_table / PAGES


def test_the_loop_leaves_its_tables_where_none_are_counted():
    none, rcu = (run(Pattern.LOOP, design, rounds=6) for design in (Design.NONE, Design.RCU))
    assert none.tables_freed == 0 < none.tables_allocated
    assert rcu.tables_allocated - 1 <= rcu.tables_freed <= rcu.tables_allocated


@pytest.mark.parametrize("design", list(Design))
@pytest.mark.parametrize("pattern", list(Pattern))
def test_the_same_seed_gives_the_same_figures(pattern, design):
    parameters = Parameters(grace_period=20_000)
    rounds = {Pattern.PAGES: 2.0, Pattern.LOOP: 1.0}.get(pattern, 0.1)
    first, again, other = (
        run(pattern, design, 3, rounds, Vmas.ONE, parameters, seed) for seed in (5, 5, 6)
    )
    assert first == again != other
    if design is Design.NONE or (pattern, design) == (Pattern.LOOP, Design.RCU):
        assert (first.tables_freed > 0) == (design is Design.RCU)


def test_a_shared_lock_bounds_all_designs_and_the_pmd_lock_its_own():
    many = {
        design: run(Pattern.AREAS, design, 24, 0.1) for design in (Design.NONE, Design.PMD_LOCK)
    }
    limit = 1e9 / (PLAIN.lock_handoff + PLAIN.lock)
    assert many[Design.PMD_LOCK].faults_per_s < limit < many[Design.NONE].faults_per_s
    queued = run(Pattern.AREAS, Design.NONE, 24, 0.1, Vmas.ONE)
    assert queued.faults_per_s < 1e9 / (2 * (PLAIN.transfer + PLAIN.atomic)) * 1.01


def test_tables_wait_for_a_grace_period_per_cpu_ones_for_another_and_pmd_lock_for_none():
    parameters = PLAIN.replace(grace_period=50_000)
    rcu = run(Pattern.PAGES, Design.RCU, parameters=parameters, rounds=8)
    assert rcu.pending_max > 1
    assert 50_000 <= rcu.free_ns <= 100_000
    assert rcu.wait_ns == pytest.approx(rcu.free_ns, abs=500)
    per_cpu = run(Pattern.LOOP, Design.PER_CPU, parameters=parameters, rounds=8)
    assert per_cpu.free_ns > per_cpu.wait_ns + 50_000 >= 100_000
    pmd_lock = run(Pattern.PAGES, Design.PMD_LOCK, parameters=parameters, rounds=8)
    assert pmd_lock.tables_freed == rcu.tables_freed
    assert pmd_lock.pending_max == 0
    assert pmd_lock.free_ns < 1_000


def test_tables_wait_as_littles_law_says():
    """Tables taken out a second times the wait of each are those that wait, on average."""
    parameters = PLAIN.replace(grace_period=1_000_000)
    workload = Workload(Pattern.PAGES, Vmas.OWN, Design.RCU, 2, 0.0, periods=4)
    figures = simulate(workload, parameters)
    expected = figures.freed_per_s * figures.wait_ns / 1e9
    assert figures.pending_mean == pytest.approx(expected, rel=0.02)
    assert figures.pending_mean * 1.2 < figures.pending_max
    assert figures.wait_ns == pytest.approx(1.5e6, rel=0.02)


def test_a_per_cpu_table_in_steady_use_waits_nearly_four_grace_periods():
    """At the end of a period it is in use, or was freed: it is emptied anew when the next period
    has just begun. Its counters are added up at the end of the one after, and the frame waits as
    long again.
    """
    parameters = PLAIN.replace(grace_period=1_000_000)
    workload = Workload(Pattern.PAGES, Vmas.OWN, Design.PER_CPU, 2, 0.0, periods=8)
    figures = simulate(workload, parameters)
    assert 3.7e6 < figures.free_ns < 4e6
    assert 1.8e6 < figures.wait_ns < 2e6


def test_a_per_cpu_table_that_is_found_again_before_it_is_taken_out_is_in_use():
    """Its counters are on again; once it is empty, it goes."""
    machine = Machine(2, PLAIN.replace(grace_period=1_000))
    (first, second), slot = machine.cpus, Slot(machine, PmdTable(machine), 0, Design.PER_CPU)

    def touch(cpu):
        yield from slot.alloc_get(cpu)
        yield from slot.set(cpu, 0)

    def while_it_is_taken_out():
        yield from touch(first)
        yield from slot.zap(first, range(1))
        table = slot.table
        yield from slot._pmd.lock.acquire(second)
        yield machine.env.timeout(5_000)
        assert table.dying
        yield from touch(second)
        yield from slot._pmd.lock.release(second)
        yield machine.env.timeout(5_000)
        assert slot.table is table
        assert (table.dying, slot.frees) == (False, 0)
        yield from slot.zap(second, range(1))

    machine.env.process(while_it_is_taken_out())
    machine.env.run()
    assert (slot.table, slot.frees) == (None, 1)


def test_the_fit_to_the_publication_gives_its_figure_without_a_count():
    base = published.of_one_thread(PLAIN)
    _, without, _ = published.PUBLISHED[0]
    figures = run(Pattern.AREAS, Design.NONE, vmas=Vmas.ONE, parameters=base)
    assert 60 * figures.faults_per_s == pytest.approx(without, rel=0.01)
    stretched = published.fitted("stretch", 16, published.PUBLISHED[2][1], base, 1)
    assert stretched.fault == pytest.approx(base.fault * 8.4799 / 1.8700, rel=1e-3)
    assert published.fit(0, 100, 30, lambda x: 2 * x) == pytest.approx(15, rel=2e-3)
    with pytest.raises(ValueError, match="not reached"):
        published.fit(0, 1, 30, lambda x: 2 * x)


def test_what_was_measured_replaces_defaults_and_says_so():
    parameters = calibrated({"atomic": 2.0, "table_free": -3.0})
    assert (parameters.atomic, parameters.table_free) == (2.0, 0.0)
    origins = {row["name"]: row["origin"] for row in described(parameters, {"atomic": 2.0})}
    assert (origins["atomic"], origins["lock"], origins["far"]) == ("threads", "default", "assumed")
    with pytest.raises(ValueError, match="atom,"):
        calibrated({"atom": 1, "zzz": 2})


def test_what_an_area_is_given_back_by_is_calls_that_each_flush():
    """Each call costs itself, and interrupts the others; without others only itself."""
    told = PLAIN.replace(ipi_wait=10_000, ipi_each=0, ipi_receive=8_000)

    def ns(calls, cpus, parameters=told):
        workload = Workload(Pattern.AREAS, Vmas.OWN, Design.NONE, cpus, 12.0, calls=calls)
        return simulate(workload, parameters).ns_per_fault

    one = ns(1, 1)
    assert ns(2, 1) - one == pytest.approx(PLAIN.zap_call / PAGES, rel=0.2)
    told = told.replace(jitter=0.2)  # so that the two do not flush at the same time for ever
    quiet = told.replace(ipi_wait=0, ipi_receive=0)
    for calls in (1, 2):
        added = ns(calls, 2, told) - ns(calls, 2, quiet)
        assert added == pytest.approx(calls * (10_000 + 8_000) / PAGES, rel=0.2)


def test_the_model_is_held_against_the_host_with_its_own_figures():
    row = {"fault_ns": 1000.0, "zap_ns": 250.0, "ns": 1250.0, "distance": None, "first_cpu": 0}
    host = {
        "rates": [
            {**row, "threads": 1, "shares": "an address space"},
            {**row, "threads": 2, "shares": "nothing"},
            {**row, "threads": 2, "shares": "an address space", "distance": 25.0},
            {**row, "threads": 2, "shares": "a VMA", "distance": 100.0},
        ],
        "interrupt": {"wait": 12_800.0, "receive": 6_400.0},
    }
    one, apart, own, shared = campaign.agreement(PLAIN, host, 4.0)
    assert one["model"] == apart["model"] == pytest.approx(1250, rel=0.01)
    assert own["model"] - own["model_without_interrupts"] == pytest.approx(75, rel=0.15)
    assert own["model_without_interrupts"] == pytest.approx(1250, rel=0.01)
    assert shared["model_without_interrupts"] - 1250 > 60  # the line of the VMA's lock
    as_calibrated = PLAIN.fault + PLAIN.zap_page + campaign.CALLS * PLAIN.zap_call / PAGES
    assert one["model_as_calibrated"] == pytest.approx(as_calibrated, rel=0.01)
    differs = own["model"] - own["model_as_calibrated"]
    assert differs == pytest.approx(1250 - as_calibrated, abs=10)


def test_a_change_is_against_the_same_run_without_a_count():
    keys = {"pattern": "areas", "vmas": "own VMAs", "cpus": 2, "seed": 0}
    rows = [
        keys | {"design": "none", "faults_per_s": 200.0},
        keys | {"design": "RCU", "faults_per_s": 150.0},
    ]
    assert [row["change"] for row in campaign.with_change(rows)] == [0, -25]
