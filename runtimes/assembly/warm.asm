; x86-64, system calls of Linux.
        global  main
        section .text
main:   mov     eax, 1                  ; write
        mov     edi, 1
        lea     rsi, [rel text]
        mov     edx, length
        syscall
        xor     eax, eax
        ret

        section .rodata
text:   db      "hello, world", 10
length  equ     $ - text

        section .note.GNU-stack noalloc noexec nowrite progbits
