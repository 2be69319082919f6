# The way of a CPU from its SIPI (real mode, CS = page << 8) to `cpu_arrived`. Position-independent within its page; the
# parameters at its end are filled in before each start.
    .text
    .code16
    .balign 16
    .global trampoline_start
trampoline_start:
    cli
    cld
    mov ax, cs
    mov ds, ax
    lgdt [trampoline_gdt_pointer_offset]
    mov eax, cr0
    or eax, 1
    mov cr0, eax
    .byte 0x66, 0xea                # far jump to 0x08:(0x8000 + offset)
    .long 0x8000 + trampoline_protected - trampoline_start
    .short 8

    .code32
trampoline_protected:
    mov ax, 16
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov eax, 0x620                  # PAE, OSFXSR, OSXMMEXCPT
    mov cr4, eax
    mov eax, [trampoline_cr3_copy]
    mov cr3, eax
    mov ecx, 0xc0000080
    rdmsr
    or eax, 0x900                   # long mode, no-execute
    wrmsr
    mov eax, cr0
    and eax, 0x9ffffff3
    or eax, 0x80010023
    mov cr0, eax
    .byte 0xea
    .long 0x8000 + trampoline_long - trampoline_start
    .short 24

    .code64
trampoline_long:
    mov rsp, [trampoline_stack_copy]
    mov rdi, [trampoline_arrival_copy]
    xor ebp, ebp
    mov eax, offset cpu_arrived
    call rax
    ud2

    .balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff        # 8: 32-bit code
    .quad 0x00cf93000000ffff        # 16: data
    .quad 0x00af9b000000ffff        # 24: 64-bit code
trampoline_gdt_pointer:
    .short 31
    .long 0x8000 + trampoline_gdt - trampoline_start
    .balign 8
    .global trampoline_cr3
trampoline_cr3:
    .quad 0
    .global trampoline_stack
trampoline_stack:
    .quad 0
    .global trampoline_arrival
trampoline_arrival:
    .quad 0
    .global trampoline_end
trampoline_end:

# Where things are once the page has been copied: an offset for real mode, addresses afterwards.
    .set trampoline_gdt_pointer_offset, trampoline_gdt_pointer - trampoline_start
    .set trampoline_cr3_copy, 0x8000 + trampoline_cr3 - trampoline_start
    .set trampoline_stack_copy, 0x8000 + trampoline_stack - trampoline_start
    .set trampoline_arrival_copy, 0x8000 + trampoline_arrival - trampoline_start
