        global  main
        section .text
main:   mov     eax, 42
        movee   eax, 42
        ret
