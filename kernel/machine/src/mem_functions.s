# memcpy and memmove (rdi = to, rsi = from, rdx = bytes), memset, memcmp, bcmp, strlen: System V ABI.
    .text
    .global memcpy
    .global memmove
    .balign 16
memcpy:
memmove:
    mov rax, rdi
    cmp rdx, 16
    jb .Lsmall
    mov rcx, rdi
    sub rcx, rsi
    cmp rcx, rdx
    jb .Lbackward                   # to - from (unsigned) < bytes: the end of `from` would be overwritten
    movups xmm4, [rsi + rdx - 16]   # the last 16 bytes, taken before anything is stored
    lea r8, [rdi + rdx - 16]
    cmp rdx, 128
    jb .Lforward16
    lea rcx, [r8 - 48]
.Lforward64:
    movups xmm0, [rsi]
    movups xmm1, [rsi + 16]
    movups xmm2, [rsi + 32]
    movups xmm3, [rsi + 48]
    movups [rdi], xmm0
    movups [rdi + 16], xmm1
    movups [rdi + 32], xmm2
    movups [rdi + 48], xmm3
    add rsi, 64
    add rdi, 64
    cmp rdi, rcx
    jb .Lforward64
    jmp .Lforwardtest
.Lforward16:
    movups xmm0, [rsi]
    movups [rdi], xmm0
    add rsi, 16
    add rdi, 16
.Lforwardtest:
    cmp rdi, r8
    jb .Lforward16
    movups [r8], xmm4
    ret
.Lbackward:
    test rcx, rcx
    jz .Ldone
    movups xmm4, [rsi]              # the first 16 bytes, likewise
.Lbackward16:
    movups xmm0, [rsi + rdx - 16]
    movups [rdi + rdx - 16], xmm0
    sub rdx, 16
    cmp rdx, 16
    ja .Lbackward16
    movups [rdi], xmm4
.Ldone:
    ret
.Lsmall:
    cmp rdx, 8
    jb .Lsmall4
    mov rcx, [rsi]
    mov r8, [rsi + rdx - 8]
    mov [rdi], rcx
    mov [rdi + rdx - 8], r8
    ret
.Lsmall4:
    cmp rdx, 4
    jb .Lsmall1
    mov ecx, [rsi]
    mov r8d, [rsi + rdx - 4]
    mov [rdi], ecx
    mov [rdi + rdx - 4], r8d
    ret
.Lsmall1:
    test rdx, rdx
    jz .Ldone
    movzx ecx, byte ptr [rsi]
    movzx r8d, byte ptr [rsi + rdx - 1]
    mov r10, rdx
    shr r10, 1
    movzx r9d, byte ptr [rsi + r10]
    mov [rdi], cl
    mov [rdi + r10], r9b
    mov [rdi + rdx - 1], r8b
    ret

    .global memset
    .balign 16
memset:
    mov rax, rdi
    movzx esi, sil
    mov rcx, 0x0101010101010101
    imul rsi, rcx
    cmp rdx, 16
    jb .Lset8
    movq xmm0, rsi
    punpcklqdq xmm0, xmm0
    lea r8, [rdi + rdx - 16]
    lea rcx, [r8 - 48]
    cmp rdx, 64
    jb .Lset16
.Lset64:
    movups [rdi], xmm0
    movups [rdi + 16], xmm0
    movups [rdi + 32], xmm0
    movups [rdi + 48], xmm0
    add rdi, 64
    cmp rdi, rcx
    jbe .Lset64
    jmp .Lsettest
.Lset16:
    movups [rdi], xmm0
    add rdi, 16
.Lsettest:
    cmp rdi, r8
    jb .Lset16
    movups [r8], xmm0
    ret
.Lset8:
    cmp rdx, 8
    jb .Lset4
    mov [rdi], rsi
    mov [rdi + rdx - 8], rsi
    ret
.Lset4:
    cmp rdx, 4
    jb .Lset1
    mov [rdi], esi
    mov [rdi + rdx - 4], esi
    ret
.Lset1:
    test rdx, rdx
    jz .Lsetdone
    mov [rdi], sil
    mov [rdi + rdx - 1], sil
    shr rdx, 1
    mov [rdi + rdx], sil
.Lsetdone:
    ret

    .global memcmp
    .global bcmp
    .balign 16
memcmp:
bcmp:
    cmp rdx, 8
    jb .Lcmp1
.Lcmp8:
    mov rax, [rdi]
    mov rcx, [rsi]
    cmp rax, rcx
    jne .Lcmpdiffer
    add rdi, 8
    add rsi, 8
    sub rdx, 8
    cmp rdx, 8
    jae .Lcmp8
.Lcmp1:
    test rdx, rdx
    jz .Lcmpequal
    movzx eax, byte ptr [rdi]
    movzx ecx, byte ptr [rsi]
    sub eax, ecx
    jnz .Lcmpdone
    inc rdi
    inc rsi
    dec rdx
    jmp .Lcmp1
.Lcmpdiffer:
    bswap rax
    bswap rcx
    cmp rax, rcx
    sbb eax, eax
    or eax, 1
.Lcmpdone:
    ret
.Lcmpequal:
    xor eax, eax
    ret

    .global strlen
strlen:
    xor eax, eax
.Lstrlen:
    cmp byte ptr [rdi + rax], 0
    je .Lcmpdone
    inc rax
    jmp .Lstrlen
