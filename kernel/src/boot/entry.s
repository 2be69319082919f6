# The three doors of the image. PVH and Multiboot2 share a 32-bit entry; Hermit's is 64-bit. All come together in
# `enter`, on our own stack and our own early page tables (identity, the first 4 GiB), with SSE switched on, since even
# the precompiled `core` uses it. Everything is replaced by `machine` soon after.

# ---- Multiboot2 header (Multiboot2 specification 1.6, 3.1): entry address (type 3), end tag.
    .section .multiboot2, "ax"
    .balign 8
multiboot2_header:
    .long 0xe85250d6
    .long 0
    .long multiboot2_end - multiboot2_header
    .long -(0xe85250d6 + 0 + (multiboot2_end - multiboot2_header))
    .short 3
    .short 0
    .long 12
    .long start32
    .balign 8
    .short 0
    .short 0
    .long 8
multiboot2_end:

# ---- PVH note (Xen, XEN_ELFNOTE_PHYS32_ENTRY = 18). QEMU wants eight bytes of descriptor.
    .section .note.Xen, "a", @note
    .balign 4
    .long 4
    .long 8
    .long 18
    .asciz "Xen"
    .quad start32

# ---- 32-bit entry: protected mode, paging off, flat segments, EBX = information, EAX = Multiboot2 magic or anything.
    .section .text.boot, "ax"
    .code32
    .global start32
start32:
    cli
    cld
    mov esp, offset boot_stack_top
    mov edi, eax
    mov esi, ebx
    # CR4: PAE, OSFXSR, OSXMMEXCPT.
    mov eax, cr4
    or eax, 0x620
    mov cr4, eax
    mov eax, offset boot_pml4
    mov cr3, eax
    # EFER: long mode and no-execute.
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900
    wrmsr
    # CR0: paging, write protection, numeric error, monitor coprocessor, protected mode; no emulation, no task switched.
    mov eax, cr0
    and eax, 0x9ffffff3
    or eax, 0x80010023
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    push 8
    mov eax, offset start64
    push eax
    retf

    .code64
start64:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov fs, ax
    mov gs, ax
    mov ss, ax
    mov rsp, offset boot_stack_top
    xor ebp, ebp
    mov edi, edi
    mov esi, esi
    call enter_from_loader
    ud2

# ---- Hermit entry: 64-bit, RDI = RawBootInfo, ESI = CPU number. Other CPUs than the first are not taken this way.
    .global _start
_start:
    cli
    cld
    test esi, esi
    jnz 3f
    mov rsp, offset boot_stack_top
    xor ebp, ebp
    mov rax, cr4
    or rax, 0x620
    mov cr4, rax
    mov rax, cr0
    and rax, 0xfffffffffffffff3
    or rax, 0x10022
    mov cr0, rax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x800
    wrmsr
    mov rax, offset boot_pml4
    mov cr3, rax
    lgdt [rip + boot_gdt_pointer]
    push 8
    lea rax, [rip + 2f]
    push rax
    retfq
2:  mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    call enter_from_hermit
    ud2
3:  hlt
    jmp 3b

    .section .data.boot, "aw"
    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
boot_gdt_pointer:
    .short 23
    .quad boot_gdt

# ---- Early page tables: 4 GiB of 2 MiB pages, writable and executable, for the few thousand instructions until
# `machine` has built its own.
    .balign 4096
boot_pml4:
    .quad boot_pdpt + 3
    .fill 511, 8, 0
boot_pdpt:
    .quad boot_pd + 0x0003
    .quad boot_pd + 0x1003
    .quad boot_pd + 0x2003
    .quad boot_pd + 0x3003
    .fill 508, 8, 0
boot_pd:
    .set page, 0
    .rept 2048
    .quad page + 0x83
    .set page, page + 0x200000
    .endr

# ---- The first stack; becomes the idle thread's of CPU 0. Its lowest page is unmapped later.
    .section .bss.boot, "aw", @nobits
    .balign 4096
    .global boot_stack_bottom
boot_stack_bottom:
    .skip 4096
    .skip 65536
    .global boot_stack_top
boot_stack_top:

# ---- Placeholder of the symbol table (see linker.ld).
    .section .symbols, "a"
    .ascii "QS_SYM1\0"
    .long 0
    .long 0
    .text
