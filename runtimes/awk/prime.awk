BEGIN { print "ready" }
