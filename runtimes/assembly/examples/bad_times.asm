        section .data
endless:
        times 100000000000 db 1
