# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule: a Perfetto file, read back by Perfetto's own classes, has the tracks, slices, flows and
counters of the run.
"""

from __future__ import annotations

import io
from collections import Counter, defaultdict

import pytest

from tests.ucmmu.recorded import EVERYTHING, Script, record

protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

from mmu.trace.reader import TraceFile  # noqa: E402
from ucmmu.event_filter import parse_filter  # noqa: E402
from ucmmu.reading import perfetto  # noqa: E402

Event = protos.TrackEvent
Packet = protos.TracePacket
MM = 0x1000


class Read:
    """A Perfetto file as its readers see it: names are looked up where they were interned."""

    def __init__(self, data):
        trace = protos.Trace()
        trace.ParseFromString(data)
        self.packets = list(trace.packet)
        self.tracks = {}
        self.events = []
        names, categories, arguments = {}, {}, {}
        for packet in self.packets:
            if packet.HasField("track_descriptor"):
                self.tracks[packet.track_descriptor.uuid] = packet.track_descriptor
            interned = packet.interned_data
            for table, told in (
                (names, interned.event_names),
                (categories, interned.event_categories),
                (arguments, interned.debug_annotation_names),
            ):
                for one in told:
                    assert one.iid not in table
                    table[one.iid] = one.name
            if packet.HasField("track_event"):
                self._take(packet, names, categories, arguments)

    def _take(self, packet, names, categories, arguments):
        event = packet.track_event
        assert packet.sequence_flags & Packet.SEQ_NEEDS_INCREMENTAL_STATE
        assert event.track_uuid in self.tracks
        self.events.append(
            {
                "time": packet.timestamp,
                "type": event.type,
                "track": event.track_uuid,
                "name": names[event.name_iid] if event.name_iid else None,
                "categories": [categories[iid] for iid in event.category_iids],
                "arguments": {
                    arguments[one.name_iid]: getattr(one, one.WhichOneof("value"))
                    for one in event.debug_annotations
                },
                "flows": list(event.flow_ids),
                "ends": list(event.terminating_flow_ids),
                "value": event.counter_value or event.double_counter_value,
            }
        )

    def of(self, track_name, *types):
        """Events of the track, by its name."""
        uuids = [uuid for uuid, its in self.tracks.items() if self.name(its) == track_name]
        return [
            one
            for one in self.events
            if one["track"] in uuids and (not types or one["type"] in types)
        ]

    @staticmethod
    def name(track):
        return track.thread.thread_name or track.process.process_name or track.name

    def counter(self, name):
        """Times and values of a counter track."""
        return [(one["time"], one["value"]) for one in self.of(name, Event.TYPE_COUNTER)]

    def check_nesting(self):
        """Each begin has its end, and time never goes back on a track."""
        depth = Counter()
        last = defaultdict(int)
        for one in self.events:
            assert one["time"] >= last[one["track"]]
            last[one["track"]] = one["time"]
            depth[one["track"]] += one["type"] == Event.TYPE_SLICE_BEGIN
            depth[one["track"]] -= one["type"] == Event.TYPE_SLICE_END
            assert depth[one["track"]] >= 0
        assert not any(depth.values())


def export(trace, wanted=EVERYTHING):
    out = io.BytesIO()
    perfetto.write(trace, wanted, out)
    read = Read(out.getvalue())
    read.check_nesting()
    return read


@pytest.fixture
def script(tmp_path):
    script = Script(tmp_path / "a.trace")
    script.note("process", pid=7, tgid=7, comm="guest", exe="/bin/g", mm=MM, parent=0)
    script.note("process", pid=8, tgid=7, comm="helper", exe="/bin/g", mm=MM, parent=7)
    return script


def test_the_first_packet_clears_the_state_of_its_sequence(script):
    read = export(script.trace())
    assert read.packets[0].sequence_flags & Packet.SEQ_INCREMENTAL_STATE_CLEARED
    assert {packet.trusted_packet_sequence_id for packet in read.packets} == {1}


def test_threads_are_tracks_of_their_process(script):
    for pid in (7, 8):
        script.at(pid, task=pid)
        script.emit("page_fault_user", address=0x5000, error_code=6, mm=MM)
    read = export(script.trace())
    threads = [its.thread for its in read.tracks.values() if its.HasField("thread")]
    told = [(its.pid, its.tid, its.thread_name) for its in threads]
    assert told == [(7, 7, "guest"), (7, 8, "helper")]
    (process,) = [its.process for its in read.tracks.values() if its.HasField("process")]
    assert (process.pid, process.process_name) == (7, "guest")
    (fault,) = read.of("helper")
    assert (fault["type"], fault["time"]) == (Event.TYPE_INSTANT, 8)
    assert (fault["name"], fault["categories"]) == ("page_fault_user", ["faults"])
    assert fault["arguments"]["address"] == 0x5000
    assert fault["arguments"]["error_code"] == 6
    assert fault["arguments"]["number"] == 1


def test_system_calls_and_kernel_functions_are_slices(script):
    script.at(10, task=7)
    script.emit("sys_enter", nr=11, arg0=0x5000, arg1=0x1000)
    script.emit("funcgraph_entry", start=0x5000, end=0x6000, mm=MM)
    script.at(10, time=14, task=7)
    script.emit("funcgraph_exit", ret=0)
    script.emit("sys_exit", nr=11, ret=-22)
    events = export(script.trace()).of("guest")
    assert [(one["type"], one["time"]) for one in events] == [
        (Event.TYPE_SLICE_BEGIN, 10),
        (Event.TYPE_SLICE_BEGIN, 10),
        (Event.TYPE_SLICE_END, 14),
        (Event.TYPE_SLICE_END, 14),
    ]
    assert events[0]["name"] == "munmap"
    assert events[3]["arguments"] == {"ret": -22}


def test_a_system_call_that_never_returns_ends_with_its_task(script):
    script.at(10, task=7)
    script.emit("sys_enter", nr=60)
    script.at(20, task=7)
    script.note("exit", pid=7, tgid=7, code=0, signal=0)
    script.emit("mm_page_free", pfn=3, order=0)
    script.at(90, task=8)
    script.emit("invlpg", address=1)
    ends = export(script.trace()).of("guest", Event.TYPE_SLICE_END)
    assert [one["time"] for one in ends] == [20]


def test_an_exit_without_an_entry_ends_nothing(script):
    """As at the beginning of a trace that begins in the middle."""
    script.at(10, task=7)
    script.emit("sys_exit", nr=3, ret=0)
    script.emit("funcgraph_exit", ret=0)
    script.emit("csd_function_exit", csd=3)
    script.emit("call_function_exit", vector=0xFB)
    assert export(script.trace()).events == []


def test_what_a_cpu_runs_are_slices_on_its_track(script):
    for time, prev, following in ((10, 0, 7), (25, 7, 8), (40, 8, 0)):
        script.at(time, cpu=1, task=prev)
        script.emit("sched_switch", prev_pid=prev, next_pid=following)
    events = export(script.trace()).of("CPU 1")
    assert [(one["type"], one["name"], one["time"]) for one in events] == [
        (Event.TYPE_SLICE_BEGIN, "guest", 10),
        (Event.TYPE_SLICE_END, None, 25),
        (Event.TYPE_SLICE_BEGIN, "helper", 25),
        (Event.TYPE_SLICE_END, None, 40),
    ]


def test_a_shootdown_flows_from_who_asks_to_who_flushes(script):
    script.at(10, cpu=0, task=7)
    script.emit("csd_queue_cpu", cpu=1, csd=5)
    script.at(12, cpu=1, task=8)
    script.emit("call_function_entry", vector=0xFB)
    script.emit("csd_function_entry", csd=5)
    script.emit("tlb_flush", reason=1, pages=1, mm=MM)
    script.emit("csd_function_exit", csd=5)
    script.emit("call_function_exit", vector=0xFB)
    script.emit("invlpg", address=1)
    read = export(script.trace())
    (queued,) = read.of("guest")
    handled = read.of("CPU 1 interrupts and idle")
    assert [one["name"] for one in handled] == [
        "call_function",
        "csd_function",
        "tlb_flush",
        None,
        None,
    ]
    assert queued["flows"] == handled[1]["ends"] != []
    assert [one["name"] for one in read.of("helper")] == ["invlpg"]


def test_a_table_flows_from_rcu_s_queue_to_its_free(script):
    script.at(10, task=7)
    script.emit("rcu_callback", pfn=33, qlen=1)
    script.emit("rcu_callback", pfn=34, qlen=2)
    script.at(20, cpu=1)
    script.emit("rcu_invoke_callback", pfn=33)
    script.emit("rcu_invoke_callback", pfn=34)
    script.at(30, task=7)
    script.emit("rcu_callback", pfn=33, qlen=1)
    read = export(script.trace())
    queued = [one["flows"] for one in read.of("guest", Event.TYPE_INSTANT)]
    freed = [one["ends"] for one in read.of("CPU 1 interrupts and idle", Event.TYPE_INSTANT)]
    assert queued[:2] == freed
    assert len({flow for flows in queued for flow in flows}) == 3
    assert read.counter("RCU pending") == [(10, 1), (10, 2), (20, 1), (20, 0), (30, 1)]


def test_grace_periods_are_slices(script):
    for time, event in ((10, 0), (15, 1), (30, 2)):
        script.at(time)
        script.emit("rcu_grace_period", gp_seq=4, event=event)
    events = export(script.trace()).of("RCU grace periods")
    assert [one["time"] for one in events] == [10, 30]


def test_memory_of_a_process_over_time(script):
    script.at(10, task=7)
    script.emit("total_vm", mm=MM, pages=100)
    script.emit("rss_stat", mm=MM, member=1, pages=3)
    script.emit("rss_stat", mm=MM, member=0, pages=4)
    script.emit("rss_stat", mm=MM, member=2, pages=50)
    script.at(20, task=7)
    script.emit("set_p4d", address=0, old=0, new=0x3067, entry_pa=MM)
    script.emit("set_pud", address=0, old=0, new=0x4067, entry_pa=0x3008)
    script.emit("set_pmd", address=0, old=0, new=0x5067, entry_pa=0x4010)
    script.emit("set_pmd", address=0, old=0, new=0x20_00E7, entry_pa=0x4018)
    script.at(30, task=7)
    script.emit("set_pmd", address=0, old=0x5067, new=0, entry_pa=0x4010)
    read = export(script.trace())
    assert read.counter("VmSize") == [(10, 400)]
    assert read.counter("VmRSS") == [(10, 12), (10, 28), (10, 28)]
    assert read.counter("VmPTE") == [(20, 4), (20, 8), (20, 12), (30, 8)]
    process = next(uuid for uuid, its in read.tracks.items() if its.HasField("process"))
    counters = [its for its in read.tracks.values() if its.HasField("counter")]
    assert {its.parent_uuid for its in counters} == {process}
    assert {its.counter.unit_name for its in counters} == {"kB"}


def test_the_rate_of_tlb_misses_by_window(script):
    for time, misses, hits in ((0, 1, 3), (9_999, 1, 0), (25_000, 0, 4)):
        script.at(time, task=7)
        for _ in range(misses):
            script.emit("tlb_miss", address=1, access=0)
        for _ in range(hits):
            script.emit("tlb_hit", address=1, access=0)
    assert export(script.trace()).counter("CPU 0 TLB misses") == [(0, 40.0), (20_000, 0.0)]


def test_each_instruction_is_shown_only_if_a_filter_names_it(script):
    script.at(5, task=7)
    script.insn(0x400000)
    script.emit("invlpg", address=1)
    trace = script.trace()
    assert [one["name"] for one in export(trace).of("guest")] == ["invlpg"]
    named = export(trace, parse_filter(["event=insn"])).of("guest")
    assert [one["name"] for one in named] == ["insn"]


def test_another_name_renames_the_track(script):
    script.at(5, task=7)
    script.emit("invlpg", address=1)
    script.note("exec", pid=7, tgid=7, comm="other", exe="/bin/o", mm=0x9000, parent=0)
    script.emit("invlpg", address=1)
    assert [one["name"] for one in export(script.trace()).of("other")] == ["invlpg", "invlpg"]


def test_a_trace_without_events_is_a_file_with_its_first_packet(tmp_path):
    assert len(export(Script(tmp_path / "a.trace").trace()).packets) == 1


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    path = tmp_path_factory.mktemp("perfetto") / "a.trace"
    return record(path, "dontneed_loop", "2M", "2M", cpus=2)


@pytest.fixture(scope="module")
def exported(guest):
    return export(TraceFile(str(guest)))


def test_a_guest_s_counters_are_those_of_its_report(guest, exported):
    read, report = exported, TraceFile(str(guest)).summary
    tables = [value for _, value in read.counter("PTE tables")]
    born = sum(after > before for before, after in zip([0, *tables], tables, strict=False))
    assert born == report["pte_tables_allocated"]
    assert tables[-1] == 0
    for name, peak in (("VmSize", "VmPeak"), ("VmRSS", "VmHWM"), ("VmPTE", "VmPTE_peak")):
        values = [value for _, value in read.counter(name)]
        assert max(values) == report[peak]
        assert values[-1] == 0
    pending = [value for _, value in read.counter("RCU pending")]
    assert max(pending) == report["kernel_counters"]["rcu_pending_max"]
    assert pending[-1] == 0


def test_each_process_has_counters_of_its_own(tmp_path):
    trace = TraceFile(str(record(tmp_path / "a.trace", "fork_tree", "1", "256K")))
    read = export(trace)
    processes = {uuid: its for uuid, its in read.tracks.items() if its.HasField("process")}
    peaks = defaultdict(dict)
    for one in read.events:
        track = read.tracks[one["track"]]
        if track.HasField("counter") and track.parent_uuid in processes:
            pid = processes[track.parent_uuid].process.pid
            peak = max(one["value"], peaks[pid].get(track.name, 0))
            peaks[pid][track.name] = peak
    for report in trace.summary["processes"]:
        assert peaks[report["pid"]] == {
            "VmSize": report["VmPeak"],
            "VmRSS": report["VmHWM"],
            "VmPTE": report["VmPTE_peak"],
        }


def test_each_flow_of_a_guest_begins_and_ends_once(exported):
    begun = [flow for one in exported.events for flow in one["flows"]]
    ended = [flow for one in exported.events for flow in one["ends"]]
    assert begun and sorted(begun) == sorted(ended)
    assert len(set(begun)) == len(begun)


def test_perfetto_s_trace_processor_reads_it(guest, tmp_path):
    """Its program is a download; where it is not there, the classes above have to do."""
    shutil = pytest.importorskip("shutil")
    binary = shutil.which("trace_processor_shell") or shutil.which("trace_processor")
    if binary is None:
        pytest.skip("no trace_processor_shell in PATH: get.perfetto.dev/trace_processor")
    from perfetto.trace_processor import TraceProcessor, TraceProcessorConfig

    path = tmp_path / "a.pftrace"
    with path.open("wb") as file:
        perfetto.write(TraceFile(str(guest)), EVERYTHING, file)
    with TraceProcessor(trace=str(path), config=TraceProcessorConfig(bin_path=binary)) as tp:
        (row,) = tp.query("SELECT count(*) AS n FROM slice WHERE name = 'madvise'")
        assert row.n > 0
        (row,) = tp.query("SELECT count(*) AS n FROM flow")
        assert row.n > 0


def test_what_was_written_when_the_user_interrupts_is_whole(script, monkeypatch):
    script.at(10, task=7)
    script.emit("sys_enter", nr=11)
    trace = script.trace()
    batches = trace.batches

    def interrupted(where):
        yield from batches(where)
        raise KeyboardInterrupt

    monkeypatch.setattr(trace, "batches", interrupted)
    out = io.BytesIO()
    with pytest.raises(KeyboardInterrupt):
        perfetto.write(trace, EVERYTHING, out)
    Read(out.getvalue()).check_nesting()
