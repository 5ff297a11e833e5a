print "ready\n";
