# Entry points of all vectors. Every vector enters on an IST stack, because the precompiled `core` and
# `compiler_builtins` use the red zone of the interrupted stack.
#
# Interrupts (32..255) leave their IST stack at once: the frame is copied below the interrupted thread's red zone and
# the handler runs there, so that the thread can be switched away in the middle of an interrupt. Exceptions and the NMI
# stay on their IST stacks; they never switch.
#
# The frame, from low to high addresses, is `TrapFrame` in traps.rs; below it lies the extended state (XSAVE or FXSAVE).

    .text
    .macro save_rest
    push rdx
    push rbx
    push rbp
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    mov rbp, rsp
    sub rsp, 896
    and rsp, -64
    cmp dword ptr [rip + XSAVE_MASK], 0
    je 1f
    xor eax, eax
    mov [rsp + 512], rax            # XSAVE header: XSTATE_BV, XCOMP_BV and the reserved words
    mov [rsp + 520], rax
    mov [rsp + 528], rax
    mov [rsp + 536], rax
    mov [rsp + 544], rax
    mov [rsp + 552], rax
    mov [rsp + 560], rax
    mov [rsp + 568], rax
    mov eax, [rip + XSAVE_MASK]
    xor edx, edx
    xsave64 [rsp]
    # An x87 unit in its initial state (control word 37fh, status word 0, no register in use) is told to XRSTOR as such,
    # whether the CPU keeps track of that or not. See `load_sse` in virtualization/jump.rs for what else depends on it.
    cmp dword ptr [rsp], 0x37f
    jne 2f
    cmp byte ptr [rsp + 4], 0
    jne 2f
    and byte ptr [rsp + 512], 0xfe
    jmp 2f
1:  fxsave64 [rsp]
2:  ldmxcsr [rip + default_mxcsr]
    cld
    mov rdi, rbp
    .endm

    .macro restore_and_return
    cmp dword ptr [rip + XSAVE_MASK], 0
    je 1f
    mov eax, [rip + XSAVE_MASK]
    xor edx, edx
    xrstor64 [rsp]
    jmp 2f
1:  fxrstor64 [rsp]
2:  mov rsp, rbp
    pop r15
    pop r14
    pop r13
    pop r12
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rbp
    pop rbx
    pop rdx
    pop rcx
    pop rax
    add rsp, 16
    iretq
    .endm

    .balign 16
interrupt_common:
    push rax
    push rcx
    mov rax, [rsp + 56]             # the interrupted stack pointer
    sub rax, 128                    # its red zone
    and rax, -16
    sub rax, 72
    mov rcx, [rsp + 64]
    mov [rax + 64], rcx             # ss
    mov rcx, [rsp + 56]
    mov [rax + 56], rcx             # rsp
    mov rcx, [rsp + 48]
    mov [rax + 48], rcx             # rflags
    mov rcx, [rsp + 40]
    mov [rax + 40], rcx             # cs
    mov rcx, [rsp + 32]
    mov [rax + 32], rcx             # rip
    mov rcx, [rsp + 24]
    mov [rax + 24], rcx             # error code
    mov rcx, [rsp + 16]
    mov [rax + 16], rcx             # vector
    mov rcx, [rsp + 8]
    mov [rax + 8], rcx              # rax
    mov rcx, [rsp]
    mov [rax], rcx                  # rcx
    mov rsp, rax
    save_rest
    call interrupt_dispatch
    restore_and_return

    .balign 16
exception_common:
    push rax
    push rcx
    save_rest
    call exception_dispatch
    restore_and_return

    .balign 16
    .global vector_entries
vector_entries:                     # 16 bytes each
    .set vector, 0
    .rept 256
    .balign 16
    .if vector < 32
    .if (vector == 8) || (vector == 10) || (vector == 11) || (vector == 12) || (vector == 13) || (vector == 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30)
    .else
    push 0
    .endif
    push vector
    jmp exception_common
    .else
    push 0
    push vector
    jmp interrupt_common
    .endif
    .set vector, vector + 1
    .endr

# fn switch_stacks(rdi: *mut u64 where the old stack pointer goes, rsi: the new one). What the System V ABI lets a
# callee destroy (SSE among it) is already saved by the compiler; control words are not.
    .balign 16
    .global switch_stacks
switch_stacks:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    sub rsp, 8
    stmxcsr [rsp]
    fnstcw [rsp + 4]
    mov [rdi], rsp
    mov rsp, rsi
    # Whoever was interrupted in the middle of a computation has left its x87 stack in the CPU; the next thread calls or
    # was called, so its own is empty.
    fninit
    ldmxcsr [rsp]
    fldcw [rsp + 4]
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret

# First code of a new thread; `switch_stacks` returns here. r12 = the thread's start record.
    .balign 16
    .global thread_entry
thread_entry:
    xor ebp, ebp
    mov rdi, r12
    and rsp, -16
    call thread_start
    ud2

    .section .rodata
    .balign 4
default_mxcsr:
    .long 0x1f80
    .text
