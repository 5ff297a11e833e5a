-- Uses what programs use most, so that a template's page cache holds the shell.
create table words (word text primary key, length integer);
insert into words select value, length(value) from json_each('["warm", "the", "cache"]');
create index by_length on words (length);
select group_concat(word, ' '), sum(length), date(0, 'unixepoch'), printf('%.3f', avg(length)) from words where length > 2;
with recursive counter (n) as (values (1) union all select n + 1 from counter where n < 10) select sum(n) over () from counter limit 1;
select abs(random()) > 0, hex(randomblob(2)) != '';
.mode csv
select * from words order by word;
.tables
