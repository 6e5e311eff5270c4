-- SPDX-License-Identifier: GPL-2.0-or-later
create table t (id integer primary key, name text, value real); create index i on t (value);
begin;
with recursive n (i) as (select 1 union all select i + 1 from n where i < 20000)
insert into t select i, 'name ' || (i * 7919 % 20011), i * 0.5 from n;
commit;
update t set value = -value where id % 3 = 0; delete from t where id % 10 = 0;
select count(*), sum(value), max(name) from t; pragma integrity_check; pragma journal_mode = wal;
insert into t values (100000, 'last', 1); select count(*) from t; vacuum; pragma page_count;
