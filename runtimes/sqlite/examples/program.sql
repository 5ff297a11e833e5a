-- Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
create table lines (line text);
.mode list
.import '|cat' lines
create table numbers as
with recursive words (word, rest) as (
    select '', replace(replace(line, char(9), ' '), char(13), ' ') || ' ' from lines
    union all
    select substr(rest, 1, instr(rest, ' ') - 1), substr(rest, instr(rest, ' ') + 1) from words where rest != ''
)
select cast(word as integer) as number from words where word != '';
select group_concat(number, ' ') from (select number from numbers order by number);
select 'sum ' || coalesce(sum(number), 0) from numbers;
.once sum.txt
select coalesce(sum(number), 0) from numbers;
.exit 3
