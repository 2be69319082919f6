# A kernel that says it is ready and halts. The first word of its PVH command line asks for another end if it is a letter:
# c clean shutdown, p panic, f triple fault.

    .section .multiboot2, "ax"
    .balign 8
multiboot2_header:
    .long 0xe85250d6, 0, multiboot2_end - multiboot2_header, -(0xe85250d6 + multiboot2_end - multiboot2_header)
    .short 3, 0
    .long 12, start32
    .balign 8
    .short 0, 0
    .long 8
multiboot2_end:

    .section .note.Xen, "a", @note
    .long 4, 8, 18
    .asciz "Xen"
    .quad start32

    .section .note.hermit.entry-version, "a", @note
    .long 7, 1, 0x5a00
    .ascii "HERMIT\0\0"
    .byte 4, 0, 0, 0

    .section .note.ABI-tag, "a", @note
    .long 4, 16, 1
    .asciz "GNU"
    .long 255, 0, 0, 0

    .section .text.boot, "ax"
    .code32
    .type start32, @function
start32:
    cli
    mov esp, offset stack_top
    mov esi, offset message
1:  mov al, [esi]
    test al, al
    jz 2f
    call put
    inc esi
    jmp 1b
2:  cmp dword ptr [ebx], 0x336ec578
    jne halt
    mov esi, [ebx + 24]
    test esi, esi
    jz halt
    cmp byte ptr [esi + 1], ' '
    ja halt
    mov eax, 0x10
    cmp byte ptr [esi], 'c'
    je exit
    mov eax, 0x11
    cmp byte ptr [esi], 'p'
    je exit
    cmp byte ptr [esi], 'f'
    jne halt
    lidt [no_idt]
    int3
exit:
    mov dx, 0xf4
    out dx, eax
halt:
    hlt
    jmp halt
    .size start32, . - start32

    .type put, @function
put:
    mov ah, al
    mov dx, 0x3fd
1:  in al, dx
    test al, 0x20
    jz 1b
    mov al, ah
    mov dx, 0x3f8
    out dx, al
    ret
    .size put, . - put

    .code64
    .global _start
    .type _start, @function
_start:
    hlt
    jmp _start
    .skip 16, 0x90
    .size _start, . - _start

    .section .rodata, "a"
message:
    .asciz "[    0.000001] INFO  stub: ready: ssh on tcp port 22\r\n[    0.000002] INFO  boot: serving after 1 ms\r\n"
no_idt:
    .short 0
    .long 0

    .ascii "access:"
    .global ACCESS
    .type ACCESS, @object
ACCESS:
    .zero 512
    .size ACCESS, . - ACCESS

    .section .data, "aw"
    .quad 1

    .section .facts, "aw"
    .ascii "checkpoint key:"
    .global CHECKPOINT_KEY
    .type CHECKPOINT_KEY, @object
CHECKPOINT_KEY:
    .zero 32
    .size CHECKPOINT_KEY, . - CHECKPOINT_KEY

    .section .bss, "aw", @nobits
    .balign 16
    .skip 4096
stack_top:

    .section .symbols, "a"
    .ascii "QS_SYM1\0"
    .long 0, 0
