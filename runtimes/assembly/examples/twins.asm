; The kernel's generator and the processor's clock.
        default rel
        global  main
        extern  printf

        section .text
main:   sub     rsp, 24
        mov     eax, 318                ; getrandom
        mov     rdi, rsp
        mov     esi, 16
        xor     edx, edx
        syscall
        lea     rdi, [line]
        mov     rsi, [rsp]
        mov     rdx, [rsp + 8]
        xor     eax, eax
        call    printf wrt ..plt
        xor     eax, eax
        add     rsp, 24
        ret

        section .rodata
line    db      "getrandom %016lx%016lx", 10, 0

        section .note.GNU-stack noalloc noexec nowrite progbits
