# One line for each source of chance.
use strict;
use warnings;
use List::Util qw(shuffle);

printf "%012x\n", int rand 2**48;
print join(',', shuffle 1 .. 100), "\n";
open my $source, '<:raw', '/dev/urandom' or die "urandom: $!";
read $source, my $bytes, 16;
print unpack('H*', $bytes), "\n";
