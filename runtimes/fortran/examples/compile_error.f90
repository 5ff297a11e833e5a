program broken
    implicit none
    integer :: answer
    answer = 'forty' + undeclared
    print *, answer
end program broken
