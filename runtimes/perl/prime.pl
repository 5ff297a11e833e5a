use strict;
use warnings;

print "ready\n";
