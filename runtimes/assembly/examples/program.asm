; Reads integers, sorts them with qsort of the C library, prints them and their sum.
        default rel
        global  main
        extern  scanf, printf, qsort, fopen, fprintf, fclose

ROOM    equ     100000

        section .text
main:   push    rbx
        push    r12
        push    r13
        xor     ebx, ebx                ; how many
        xor     r12d, r12d              ; their sum
        lea     r13, [numbers]
.read:  cmp     rbx, ROOM
        jae     .sort
        lea     rdi, [reading]
        lea     rsi, [r13 + rbx * 8]
        xor     eax, eax
        call    scanf wrt ..plt
        cmp     eax, 1
        jne     .sort
        add     r12, [r13 + rbx * 8]
        inc     rbx
        jmp     .read

.sort:  mov     rdi, r13
        mov     rsi, rbx
        mov     edx, 8
        lea     rcx, [compare]
        call    qsort wrt ..plt
        lea     rdi, [first]
.print: test    rbx, rbx
        jz      .sum
        mov     rsi, [r13]
        xor     eax, eax
        call    printf wrt ..plt
        add     r13, 8
        dec     rbx
        lea     rdi, [next]
        jmp     .print

.sum:   lea     rdi, [total]
        mov     rsi, r12
        xor     eax, eax
        call    printf wrt ..plt
        lea     rdi, [name]
        lea     rsi, [mode]
        call    fopen wrt ..plt
        test    rax, rax
        jz      .end
        mov     rbx, rax
        mov     rdi, rax
        lea     rsi, [line]
        mov     rdx, r12
        xor     eax, eax
        call    fprintf wrt ..plt
        mov     rdi, rbx
        call    fclose wrt ..plt
.end:   mov     eax, 3
        pop     r13
        pop     r12
        pop     rbx
        ret

compare:
        mov     rax, [rdi]
        cmp     rax, [rsi]
        setg    al
        setl    cl
        movzx   eax, al
        movzx   ecx, cl
        sub     eax, ecx
        ret

        section .rodata
reading db      "%ld", 0
first   db      "%ld", 0
next    db      " %ld", 0
total   db      10, "sum %ld", 10, 0
line    db      "%ld", 10, 0
name    db      "sum.txt", 0
mode    db      "w", 0

        section .bss
numbers resq    ROOM

        section .note.GNU-stack noalloc noexec nowrite progbits
