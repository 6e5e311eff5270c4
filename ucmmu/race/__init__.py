# SPDX-License-Identifier: GPL-2.0-or-later
"""The race explorer (``ucmmu race``, docs/races.md): kernel operations over one page table, under
every order of their steps.

To read, in this order:

- what runs: :mod:`~ucmmu.race.program`, what a program, a step and a schedule are;
  :mod:`~ucmmu.race.textbook`, the smallest programs; :mod:`~ucmmu.race.world`,
  :mod:`~ucmmu.race.operations`, :mod:`~ucmmu.race.scenario` and :mod:`ucmmu.race.scenarios`, a
  kernel of several CPUs and what they do; :mod:`~ucmmu.race.interleaving`, how one CPU is left for
  another; :mod:`~ucmmu.race.kernel_program`, all of these as one program;
- what a step touches: :mod:`~ucmmu.race.objects`, what that is called; :mod:`~ucmmu.race.access`,
  with :mod:`~ucmmu.race.watched`, :mod:`~ucmmu.race.structs`, :mod:`~ucmmu.race.fields` and
  :mod:`~ucmmu.race.quiet`; :mod:`~ucmmu.race.touched`, which gathers it; :mod:`~ucmmu.race.counts`
  and :mod:`~ucmmu.race.references`, of counts; :mod:`~ucmmu.race.tso` and
  :mod:`~ucmmu.race.stores`, the store buffers;
- what must be so after it: :mod:`~ucmmu.race.invariants`;
- which orders are run: :mod:`~ucmmu.race.run`, one of them; :mod:`~ucmmu.race.happens`,
  :mod:`~ucmmu.race.wakeup` and :mod:`~ucmmu.race.dpor`, each that matters once;
  :mod:`~ucmmu.race.bounded`, those with few preemptions; :mod:`~ucmmu.race.exploration`, what both
  share; :mod:`~ucmmu.race.explore` chooses; :mod:`~ucmmu.race.minimal` makes a failing one short;
- the command: :mod:`~ucmmu.race.setting`, what is explored, with :mod:`~ucmmu.race.variant`;
  :mod:`~ucmmu.race.campaign`, many of them in processes; :mod:`~ucmmu.race.notes` and
  :mod:`~ucmmu.race.report`, what is shown; :mod:`~ucmmu.race.command`.
"""
