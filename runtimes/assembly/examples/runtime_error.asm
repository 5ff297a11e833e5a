; Ends by the failure message of the C library's assert, as a program of this level has no other.
        default rel
        global  main
        extern  puts, fflush, __assert_fail

        section .text
main:   sub     rsp, 8
        lea     rdi, [text]
        call    puts wrt ..plt
        xor     edi, edi
        call    fflush wrt ..plt
        lea     rdi, [claim]
        lea     rsi, [file]
        mov     edx, 14
        lea     rcx, [where]
        call    __assert_fail wrt ..plt

        section .rodata
text    db      "before", 0
claim   db      "0 == 1", 0
file    db      "runtime_error.asm", 0
where   db      "main", 0

        section .note.GNU-stack noalloc noexec nowrite progbits
