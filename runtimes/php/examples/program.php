<?php
// Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.

$numbers = array_map(intval(...), preg_split('/\s+/', stream_get_contents(STDIN), -1, PREG_SPLIT_NO_EMPTY));
sort($numbers);
$sum = array_sum($numbers);
echo implode(' ', $numbers), "\nsum $sum\n";
file_put_contents('sum.txt', "$sum\n");
exit(3);
