# Sorts the integers of standard input, prints them and their sum, and leaves the sum in a file.
use strict;
use warnings;
use List::Util qw(sum0);

my @numbers = sort { $a <=> $b } map { split } <STDIN>;
my $sum = sum0 @numbers;
print "@numbers\nsum $sum\n";
open my $file, '>', 'sum.txt' or die "sum.txt: $!";
print {$file} "$sum\n";
close $file or die "sum.txt: $!";
exit 3;
