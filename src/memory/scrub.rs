//! Clearing what a secret leaves behind in registers and on the stack.

use std::arch::asm;
use std::mem::MaybeUninit;

/// Stack that a key fetch may have touched: TLS, the reader of the reply, and what they call.
const FETCH_DEPTH: usize = 64 * 1024;

/// Stack that deriving a key may have touched: HKDF and the AES key schedule. `tests/residue` tells what they take.
/// Unoptimised code takes several times as much.
const DERIVATION_DEPTH: usize = if cfg!(debug_assertions) { 64 } else { 8 } * 1024;

/// Overwrites 64 KiB of stack below the caller. 1.4 µs; after a key was loaded.
///
/// The calling thread needs that much stack to spare. Call it from the frame that called what handled the
/// secret, so that the frames it overwrites begin where those of the secret began.
#[inline(always)]
pub fn stack() {
    burn::<FETCH_DEPTH>();
}

/// Overwrites the stack that deriving one key touched below the caller.
#[inline(always)]
pub(super) fn derivation_stack() {
    burn::<DERIVATION_DEPTH>();
}

#[inline(never)]
fn burn<const DEPTH: usize>() {
    let mut frame = MaybeUninit::<[u8; DEPTH]>::uninit();
    // SAFETY: `frame` is valid for writes of its size.
    unsafe { wipe(frame.as_mut_ptr().cast(), DEPTH) };
}

/// Writes zeros that the compiler must not leave out, although nobody reads them.
///
/// # Safety
/// `start` is valid for writes of `size` bytes.
#[inline(always)]
pub(super) unsafe fn wipe(start: *mut u8, size: usize) {
    // SAFETY: the caller vouches for the memory. The empty assembly is given the pointer and may read all
    // memory as far as the compiler knows, so the zeros have to be there when it runs.
    unsafe {
        start.write_bytes(0, size);
        asm!("/* {} */", in(reg) start, options(nostack, preserves_flags, readonly));
    }
}

/// Clears the vector registers. 2 ns; after every cryptographic call.
///
/// Round keys stay in them otherwise, and a core file or a debugger shows registers.
#[inline(always)]
pub fn registers() {
    #[cfg(target_arch = "x86_64")]
    x86_64::clear();
    #[cfg(target_arch = "aarch64")]
    aarch64::clear();
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::asm;

    #[inline(always)]
    pub fn clear() {
        if !std::arch::is_x86_feature_detected!("avx") {
            return clear_sse();
        }
        // SAFETY: the processor has AVX; every register that is written is declared as overwritten.
        unsafe { asm!("vzeroall", clobber_abi("C"), options(nomem, nostack, preserves_flags)) };
        // `vzeroall` stops at register 15, and the C library's memcpy prefers those above. All servers with
        // AVX-512 have the short forms (VL), which clear the whole register at no cost in clock frequency.
        if std::arch::is_x86_feature_detected!("avx512vl") {
            clear_upper();
        }
    }

    #[inline(always)]
    fn clear_upper() {
        // SAFETY: the caller has checked for AVX-512 VL; registers as above.
        unsafe {
            asm!(
                "vpxord xmm16, xmm16, xmm16",
                "vpxord xmm17, xmm17, xmm17",
                "vpxord xmm18, xmm18, xmm18",
                "vpxord xmm19, xmm19, xmm19",
                "vpxord xmm20, xmm20, xmm20",
                "vpxord xmm21, xmm21, xmm21",
                "vpxord xmm22, xmm22, xmm22",
                "vpxord xmm23, xmm23, xmm23",
                "vpxord xmm24, xmm24, xmm24",
                "vpxord xmm25, xmm25, xmm25",
                "vpxord xmm26, xmm26, xmm26",
                "vpxord xmm27, xmm27, xmm27",
                "vpxord xmm28, xmm28, xmm28",
                "vpxord xmm29, xmm29, xmm29",
                "vpxord xmm30, xmm30, xmm30",
                "vpxord xmm31, xmm31, xmm31",
                "kxorw k0, k0, k0",
                "kxorw k1, k1, k1",
                "kxorw k2, k2, k2",
                "kxorw k3, k3, k3",
                "kxorw k4, k4, k4",
                "kxorw k5, k5, k5",
                "kxorw k6, k6, k6",
                "kxorw k7, k7, k7",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags)
            )
        };
    }

    #[cold]
    fn clear_sse() {
        // SAFETY: every x86-64 processor has SSE2; registers as above.
        unsafe {
            asm!(
                "pxor xmm0, xmm0",
                "pxor xmm1, xmm1",
                "pxor xmm2, xmm2",
                "pxor xmm3, xmm3",
                "pxor xmm4, xmm4",
                "pxor xmm5, xmm5",
                "pxor xmm6, xmm6",
                "pxor xmm7, xmm7",
                "pxor xmm8, xmm8",
                "pxor xmm9, xmm9",
                "pxor xmm10, xmm10",
                "pxor xmm11, xmm11",
                "pxor xmm12, xmm12",
                "pxor xmm13, xmm13",
                "pxor xmm14, xmm14",
                "pxor xmm15, xmm15",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags)
            )
        };
    }
}

#[cfg(target_arch = "aarch64")]
mod aarch64 {
    use std::arch::asm;

    #[inline(always)]
    pub fn clear() {
        // SAFETY: every register that is written is declared as overwritten. The lower halves of v8 to v15
        // belong to our callers (AAPCS64 §6.1.2) and are left alone: who used them has restored them.
        unsafe {
            asm!(
                "movi v0.2d, #0",
                "movi v1.2d, #0",
                "movi v2.2d, #0",
                "movi v3.2d, #0",
                "movi v4.2d, #0",
                "movi v5.2d, #0",
                "movi v6.2d, #0",
                "movi v7.2d, #0",
                "mov v8.d[1], xzr",
                "mov v9.d[1], xzr",
                "mov v10.d[1], xzr",
                "mov v11.d[1], xzr",
                "mov v12.d[1], xzr",
                "mov v13.d[1], xzr",
                "mov v14.d[1], xzr",
                "mov v15.d[1], xzr",
                "movi v16.2d, #0",
                "movi v17.2d, #0",
                "movi v18.2d, #0",
                "movi v19.2d, #0",
                "movi v20.2d, #0",
                "movi v21.2d, #0",
                "movi v22.2d, #0",
                "movi v23.2d, #0",
                "movi v24.2d, #0",
                "movi v25.2d, #0",
                "movi v26.2d, #0",
                "movi v27.2d, #0",
                "movi v28.2d, #0",
                "movi v29.2d, #0",
                "movi v30.2d, #0",
                "movi v31.2d, #0",
                clobber_abi("C"),
                options(nomem, nostack, preserves_flags)
            )
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wiping_reaches_every_byte_and_no_further() {
        let mut block = [0xaa_u8; 300];
        // SAFETY: the range lies inside `block`.
        unsafe { wipe(block.as_mut_ptr().add(7), 200) };
        assert!(block[..7].iter().chain(&block[207..]).all(|&b| b == 0xaa));
        assert!(block[7..207].iter().all(|&b| b == 0));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn no_vector_register_keeps_what_it_held() {
        if !std::arch::is_x86_feature_detected!("avx2") {
            return println!("skipped: the processor has no AVX2");
        }
        let secret = [0x5a_u8; 32];
        assert_eq!(registers_after(nothing, &secret), [secret; 3], "without scrubbing they keep it");
        assert_eq!(registers_after(scrub, &secret), [[0; 32]; 3]);
    }

    #[cfg(target_arch = "x86_64")]
    extern "C" fn scrub() {
        registers();
    }

    #[cfg(target_arch = "x86_64")]
    extern "C" fn nothing() {}

    /// What three of the registers hold after `call`, when they held `secret` before it: one of the low ones, the
    /// last low one, and one of those that only AVX-512 has (where it is missing, another low one).
    #[cfg(target_arch = "x86_64")]
    fn registers_after(call: extern "C" fn(), secret: &[u8; 32]) -> [[u8; 32]; 3] {
        let mut found = [[0xff; 32]; 3];
        if std::arch::is_x86_feature_detected!("avx512vl") {
            // SAFETY: AVX-512 VL was detected; the pointers are valid; the call follows the C ABI.
            unsafe {
                asm!(
                    "vmovdqu ymm3, [r12]", "vmovdqu ymm15, [r12]", "vmovdqu32 ymm29, [r12]",
                    "call {call}",
                    "vmovdqu [r13], ymm3", "vmovdqu [r13 + 32], ymm15", "vmovdqu32 [r13 + 64], ymm29",
                    call = in(reg) call, in("r12") secret, in("r13") &mut found, clobber_abi("C")
                )
            };
        } else {
            // SAFETY: AVX2 was detected; otherwise as above.
            unsafe {
                asm!(
                    "vmovdqu ymm3, [r12]", "vmovdqu ymm15, [r12]", "vmovdqu ymm9, [r12]",
                    "call {call}",
                    "vmovdqu [r13], ymm3", "vmovdqu [r13 + 32], ymm15", "vmovdqu [r13 + 64], ymm9",
                    call = in(reg) call, in("r12") secret, in("r13") &mut found, clobber_abi("C")
                )
            };
        }
        found
    }
}
