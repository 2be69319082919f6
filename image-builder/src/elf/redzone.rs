//! Finds functions that keep data below the stack pointer, in the red zone of the System V ABI. An interrupt on the same
//! stack overwrites it.
//!
//! The search is by the operands alone: an access below `rsp`, or below `rbp` further down than the function ever moves
//! `rsp`. With an index register the displacement alone says little (`[rsp + rcx - 1]` may be the end of an array), so such
//! an access counts where the whole frame would have to be in the red zone: in a function that calls nothing and never
//! lowers `rsp` for its frame. Addresses taken with `lea` do not count.

use std::fmt;

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, SectionFlags};
use rustc_demangle::demangle;
use serde::Serialize;

use super::Elf;
use super::symbols::Function;

/// A function with an access below the stack pointer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Below {
    /// Demangled name.
    pub function: String,
    /// Address of the first such instruction.
    pub address: u64,
}

impl fmt::Display for Below {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:#x}", self.function, self.address)
    }
}

impl Below {
    /// Whether the function comes from the crates that Rust ships compiled, whose flags are not ours.
    pub fn is_precompiled(&self) -> bool {
        const PRIMITIVES: [&str; 17] = [
            "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32",
            "f64", "bool", "char", "str",
        ];
        let path = self.function.trim_start_matches('<');
        // Only `core` implements its traits for primitive types.
        let implemented_in_core =
            path.split_once(" as core::").is_some_and(|(primitive, _)| PRIMITIVES.contains(&primitive));
        let in_crate = |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.starts_with("::"));
        implemented_in_core
            || ["core", "alloc", "compiler_builtins"].into_iter().any(in_crate)
            // The C names of compiler_builtins' functions: `__udivti3` and its like.
            || (path.starts_with("__") && !path.contains(':'))
    }
}

pub(super) fn scan(elf: &Elf<'_>, functions: &[Function]) -> Vec<Below> {
    let mut found = Vec::new();
    for section in elf.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(object::elf::SHF_EXECINSTR) == 0 {
            continue;
        }
        let Ok(code) = section.data() else { continue };
        let (start, end) = (section.address(), section.address() + code.len() as u64);
        let first = functions.partition_point(|function| function.address < start);
        let after = functions.partition_point(|function| function.address < end);
        for (index, function) in functions[first..after].iter().enumerate() {
            let next = functions[first..after].get(index + 1).map_or(end, |next| next.address);
            let stop = if function.size == 0 { next } else { (function.address + function.size).min(next) };
            let body = &code[(function.address - start) as usize..(stop - start) as usize];
            if let Some(address) = below(body, function.address) {
                found.push(Below { function: format!("{:#}", demangle(&function.name)), address });
            }
        }
    }
    found
}

/// The first access of a function below its stack pointer.
fn below(code: &[u8], address: u64) -> Option<u64> {
    let instructions: Vec<Instruction> =
        Decoder::with_ip(64, code, address, DecoderOptions::NONE).into_iter().collect();
    let frame = frame_size(&instructions);
    let frameless = !instructions
        .iter()
        .any(|instruction| instruction.mnemonic() == Mnemonic::Call || lowers_stack_pointer(instruction));
    let offender = instructions.iter().find(|instruction| {
        let displacement = instruction.memory_displacement64() as i64;
        let certain = frameless || instruction.memory_index() == Register::None;
        touches_memory(instruction)
            && certain
            && match instruction.memory_base() {
                Register::RSP => displacement < 0,
                Register::RBP => frame.is_some_and(|frame| displacement < -frame),
                _ => false,
            }
    });
    offender.map(Instruction::ip)
}

fn touches_memory(instruction: &Instruction) -> bool {
    let address_only = matches!(
        instruction.mnemonic(),
        Mnemonic::Lea | Mnemonic::Nop | Mnemonic::Prefetcht0 | Mnemonic::Prefetcht1 | Mnemonic::Prefetcht2
    );
    !address_only && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory)
}

/// Whether an instruction makes room for a frame, pushes of registers aside.
fn lowers_stack_pointer(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Sub | Mnemonic::And)
        && instruction.op_kind(0) == OpKind::Register
        && instruction.op_register(0) == Register::RSP
}

const PAGE: i64 = 4096;

/// How far below `rbp` the stack pointer goes at most, if `rbp` is a frame pointer of a frame of known size.
fn frame_size(instructions: &[Instruction]) -> Option<i64> {
    let is_register = |instruction: &Instruction, operand: u32, register: Register| {
        instruction.op_kind(operand) == OpKind::Register && instruction.op_register(operand) == register
    };
    let prologue = instructions.iter().position(|instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && is_register(instruction, 0, Register::RBP)
            && is_register(instruction, 1, Register::RSP)
    })?;
    let mut depth = 0_i64;
    let mut deepest = 0;
    let copies_rsp = |instruction: &Instruction| {
        instruction.mnemonic() == Mnemonic::Mov
            && is_register(instruction, 0, Register::R11)
            && is_register(instruction, 1, Register::RSP)
    };
    for pair in instructions[prologue..].windows(2) {
        let [previous, instruction] = pair else { break };
        match instruction.mnemonic() {
            Mnemonic::Push => depth += 8,
            Mnemonic::Pop => depth -= 8,
            // A large frame is probed page by page: r11 tells how far, and the loop lowers rsp by a page.
            Mnemonic::Sub if is_register(instruction, 0, Register::R11) && copies_rsp(previous) => {
                depth += instruction.immediate(1) as i64 - PAGE;
            }
            Mnemonic::Sub | Mnemonic::Add | Mnemonic::And if is_register(instruction, 0, Register::RSP) => {
                match (instruction.mnemonic(), instruction.op_kind(1)) {
                    (Mnemonic::Sub, OpKind::Immediate8to64 | OpKind::Immediate32to64) => {
                        depth += instruction.immediate(1) as i64;
                    }
                    (Mnemonic::Add, OpKind::Immediate8to64 | OpKind::Immediate32to64) => {
                        depth -= instruction.immediate(1) as i64;
                    }
                    // Aligned, or of a size known at run time only.
                    _ => return None,
                }
            }
            // Another way out of the function: what follows has the frame that the prologue made.
            Mnemonic::Ret | Mnemonic::Jmp => depth = deepest,
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    Some(deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// push rbp; mov rbp, rsp; mov r11, rsp; sub r11, 0x3000; a page less and touched, until rsp is r11; mov [rbp-DEPTH], rax
    fn probed(depth: i32) -> Vec<u8> {
        let mut code = vec![0x55, 0x48, 0x89, 0xe5, 0x49, 0x89, 0xe3, 0x49, 0x81, 0xeb, 0, 0x30, 0, 0];
        code.extend([0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0, 0x4c, 0x39, 0xdc]);
        code.extend([0x75, 0xec, 0x48, 0x89, 0x85]);
        code.extend((-depth).to_le_bytes());
        code
    }

    #[test]
    fn accesses_below_the_stack_pointer_are_found() {
        for (code, expected, what) in [
            (&[0x48, 0x89, 0x44, 0x24, 0xf8, 0xc3][..], Some(0), "mov [rsp-8], rax"),
            (&[0x48, 0x8d, 0x44, 0x24, 0xf8, 0xc3], None, "lea rax, [rsp-8]"),
            (&[0x50, 0x48, 0x89, 0x04, 0x24, 0x58, 0xc3], None, "push rax; mov [rsp], rax; pop rax"),
            (&[0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0x45, 0xf8, 0x5d, 0xc3], Some(4), "a leaf's [rbp-8]"),
            (
                &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0x45, 0xf0, 0xc9, 0xc3],
                None,
                "sub rsp, 16; mov [rbp-16], rax",
            ),
            (
                &[0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0x48, 0x89, 0x45, 0xe8, 0xc9, 0xc3],
                Some(8),
                "sub rsp, 16; mov [rbp-24], rax",
            ),
            (&probed(0x2000), None, "a probed frame of 0x3000; mov [rbp-0x2000], rax"),
            (&probed(0x4000), Some(34), "a probed frame of 0x3000; mov [rbp-0x4000], rax"),
            (&[0x48, 0x89, 0x45, 0xf8, 0xc3], None, "rbp as any register"),
            (&[0x88, 0x44, 0x0c, 0xff, 0xc3], Some(0), "a leaf's mov [rsp+rcx-1], al"),
            (
                &[0x48, 0x83, 0xec, 0x10, 0x88, 0x44, 0x0c, 0xff, 0x48, 0x83, 0xc4, 0x10, 0xc3],
                None,
                "sub rsp, 16; mov [rsp+rcx-1], al",
            ),
        ] {
            assert_eq!(below(code, 0), expected, "{what}");
        }
    }

    #[test]
    fn the_precompiled_crates_are_known() {
        let is_precompiled =
            |function: &str| Below { function: function.to_owned(), address: 0 }.is_precompiled();
        assert!(is_precompiled("core::fmt::pad"));
        assert!(is_precompiled("<core::str::Chars as core::fmt::Debug>::fmt"));
        assert!(is_precompiled("compiler_builtins::float::f128"));
        assert!(is_precompiled("__udivti3"));
        assert!(is_precompiled("<u128 as core::fmt::Display>::fmt"));
        assert!(!is_precompiled("machine::time::now"));
        assert!(!is_precompiled("<net::tcp::TcpStream as core::fmt::Debug>::fmt"));
        assert!(!is_precompiled("corelib::x"));
        assert!(!is_precompiled("memcpy"));
    }
}
