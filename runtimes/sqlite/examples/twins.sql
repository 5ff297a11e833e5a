-- One line for each source of chance.
select printf('%016x', random());
select hex(randomblob(16));
