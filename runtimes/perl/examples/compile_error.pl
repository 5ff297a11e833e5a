use strict;
print "before\n";
my $number = (1 + ;
