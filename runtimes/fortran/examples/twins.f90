program twins
    use, intrinsic :: iso_fortran_env, only: int64
    implicit none
    real(8) :: drawn(2)
    integer(int64) :: bytes
    integer :: unit
    call random_number(drawn)
    print '(a, 2f20.17)', 'random_number', drawn
    open (newunit=unit, file='/dev/urandom', access='stream', form='unformatted', action='read', status='old')
    read (unit) bytes
    print '(a, z16.16)', '/dev/urandom ', bytes
end program twins
