-- One line for each source of chance.
SELECT random();
SELECT hex(randomblob(16));
