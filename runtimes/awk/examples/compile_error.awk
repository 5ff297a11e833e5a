BEGIN { print "before" }
BEGIN { if (1 print "never" }
