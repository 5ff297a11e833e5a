program fails
    implicit none
    integer :: unit
    print '(a)', 'before'
    flush (6)
    open (newunit=unit, file='/no/such/file', status='old')
end program fails
