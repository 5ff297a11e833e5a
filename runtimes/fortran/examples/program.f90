program sums
    use, intrinsic :: iso_fortran_env, only: int64, input_unit, iostat_end
    implicit none
    integer(int64), allocatable :: numbers(:)
    integer(int64) :: number
    character(len=:), allocatable :: text, line
    integer :: unit, place, next, state

    text = read_all()
    allocate (numbers(0))
    place = 1
    do
        place = place + verify(text(place:)//'.', ' ') - 1
        if (place > len(text)) exit
        next = place + scan(text(place:)//' ', ' ') - 1
        read (text(place:next - 1), *, iostat=state) number
        if (state /= 0) exit
        numbers = [numbers, number]
        place = next
    end do
    call sort(numbers)
    line = ''
    do place = 1, size(numbers)
        line = line//blank(place)//shown(numbers(place))
    end do
    print '(a)', line
    print '(a)', 'sum '//shown(sum(numbers))
    open (newunit=unit, file='sum.txt', action='write', status='replace')
    write (unit, '(a)') shown(sum(numbers))
    close (unit)
    stop 3, quiet=.true.

contains

    function blank(at) result(text)
        integer, intent(in) :: at
        character(len=:), allocatable :: text
        text = repeat(' ', min(at - 1, 1))
    end function blank

    function read_all() result(all)
        character(len=:), allocatable :: all
        character(len=1024) :: piece
        integer :: got, ending
        all = ''
        do
            read (input_unit, '(a)', advance='no', size=got, iostat=ending) piece
            all = all//piece(:got)
            if (ending == iostat_end) exit
            if (ending /= 0) all = all//' '
        end do
    end function read_all

    recursive subroutine sort(values)
        integer(int64), intent(inout), allocatable :: values(:)
        integer(int64), allocatable :: less(:), more(:)
        integer(int64) :: pivot
        if (size(values) < 2) return
        pivot = values(size(values)/2 + 1)
        less = pack(values, values < pivot)
        more = pack(values, values > pivot)
        call sort(less)
        call sort(more)
        values = [less, pack(values, values == pivot), more]
    end subroutine sort

    function shown(value) result(text)
        integer(int64), intent(in) :: value
        character(len=:), allocatable :: text
        character(len=24) :: buffer
        write (buffer, '(i0)') value
        text = trim(buffer)
    end function shown

end program sums
