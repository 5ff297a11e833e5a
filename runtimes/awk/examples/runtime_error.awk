BEGIN {
    print "before"
    fflush()
    nothing = 0
    print 1 / nothing
}
