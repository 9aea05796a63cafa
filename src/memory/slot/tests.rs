use std::process::{Command, Stdio};

use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};

use super::*;

const TIERS: [Tier; 2] = [Tier::Secret, Tier::Locked];

/// An arena of the test's own. Leaked, as all are.
fn arena(tier: Tier) -> &'static Arena {
    let arena = Arena::new();
    arena.tier.set(tier).unwrap();
    Box::leak(Box::new(arena))
}

/// The tiers that this machine offers; every one has the second.
fn offered() -> Vec<Tier> {
    let best = pages::best_tier().unwrap();
    TIERS.into_iter().filter(|tier| *tier == best || *tier == Tier::Locked).collect()
}

fn slot(arena: &'static Arena, byte: u8) -> Slot<[u8; 32]> {
    Slot::within(arena, || Ok([byte; 32])).unwrap()
}

/// The memory of a slot, also after the slot was given back: an arena never unmaps.
fn memory(start: *const u8, size: usize) -> Vec<u8> {
    // SAFETY: callers name memory of an arena, which stays mapped, and let nobody write to it meanwhile.
    (0..size).map(|i| unsafe { start.add(i).read_volatile() }).collect()
}

#[test]
fn a_dropped_slot_is_wiped_in_place_on_every_tier() {
    for tier in offered() {
        let slot = slot(arena(tier), 0x77);
        let start = slot.as_ptr();
        assert_eq!(memory(start, 32), [0x77; 32]);
        drop(slot);
        assert_eq!(memory(start, SLOT_SIZE), [0; SLOT_SIZE], "{tier}");
    }
}

#[test]
fn the_key_schedule_of_a_cipher_lives_in_a_slot_and_is_wiped_with_it() {
    let key = Slot::within(arena(Tier::Locked), || {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[3; 32]).expect("32 bytes")))
    })
    .unwrap();
    let start = (&raw const *key).cast();
    assert!(memory(start, size_of::<LessSafeKey>()).iter().filter(|&&b| b != 0).count() > 200);
    drop(key);
    assert_eq!(memory(start, SLOT_SIZE), [0; SLOT_SIZE]);
}

#[test]
fn a_slot_whose_value_cannot_be_made_goes_back() {
    let arena = arena(Tier::Locked);
    let first = slot(arena, 1).as_ptr();
    let refused = Slot::<[u8; 32]>::within(arena, || Err(Error::new(Code::KeyWeak, "constant")));
    assert_eq!(refused.err().unwrap().code(), Code::KeyWeak);
    let panicked = std::panic::catch_unwind(|| Slot::<[u8; 32]>::within(arena, || panic!("made to fail")).is_ok());
    assert!(panicked.is_err());
    assert_eq!(slot(arena, 2).as_ptr(), first, "the one free slot is used again and again");
}

#[test]
fn threads_never_share_a_slot() {
    for tier in offered() {
        let arena = arena(tier);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..50_u8 {
                        let slots: Vec<_> = (0..20).map(|i| slot(arena, thread ^ round ^ i)).collect();
                        for (i, slot) in (0..20).zip(&slots) {
                            assert_eq!(**slot, [thread ^ round ^ i; 32]);
                        }
                    }
                });
            }
        });
        let free = arena.lock();
        assert_eq!(free.slots.len(), free.total, "every slot came back");
        assert!(free.total <= 3 * 64, "and was used again: {} for 160 at a time", free.total);
    }
}

#[test]
fn a_chunk_stays_out_of_core_files_children_and_swap_between_pages_that_fault() {
    for tier in offered() {
        let address = slot(arena(tier), 1).as_ptr() as usize;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mappings: Vec<&str> = maps.split_inclusive("VmFlags:").collect();
        let at = mappings.iter().position(|m| range(m).is_some_and(|r| r.contains(&address))).unwrap();
        // The flags of a mapping follow the split, at the head of the next piece.
        let flags: Vec<&str> = mappings[at + 1].lines().next().unwrap().split(' ').collect();
        for wanted in ["dd", "dc", "lo"] {
            assert!(flags.contains(&wanted), "{tier}: {wanted} is missing in {flags:?}");
        }
        let own = range(mappings[at]).unwrap();
        let faults = |at: usize| header(mappings[at]).unwrap().contains(" ---p ");
        assert!(faults(at - 1) && range(mappings[at - 1]).unwrap().end == own.start, "{tier}: nothing in front");
        assert!(faults(at + 1) && range(mappings[at + 1]).unwrap().start == own.end, "{tier}: nothing behind");
    }
}

/// The line `start-end rwxp …` of a mapping in smaps.
fn header(mapping: &str) -> Option<&str> {
    mapping.lines().find(|line| line.split(' ').next().is_some_and(|word| word.contains('-')))
}

fn range(mapping: &str) -> Option<std::ops::Range<usize>> {
    let (start, end) = header(mapping)?.split(' ').next()?.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[test]
fn the_tier_in_force_is_told_and_is_the_best_one() {
    let _slot = Slot::copy_of(&[1; 32]).unwrap();
    assert_eq!(tier(), Some(pages::best_tier().unwrap()));
    assert_eq!(TIERS.map(|tier| tier.to_string()), ["memfd_secret", "mlock"]);
    assert_eq!(serde_json::to_string(&TIERS).unwrap(), r#"["memfd_secret","mlock"]"#);
}

#[test]
fn a_child_drops_what_it_inherited_and_makes_slots_of_its_own_even_if_the_lock_was_held() {
    let inherited = Slot::copy_of(&[9; 32]).unwrap();
    let start = inherited.as_ptr();
    let held = Arena::of_this_process().lock();
    // SAFETY: the child ends with _exit; what it does until then the C library allows after a fork.
    let status = unsafe {
        match libc::fork() {
            0 => {
                // A child that hangs is killed, which the parent notices.
                libc::alarm(10);
                libc::_exit(if child_works(inherited) { 0 } else { 1 })
            }
            child => {
                let mut status = -1;
                libc::waitpid(child, &mut status, 0);
                status
            }
        }
    };
    drop(held);
    assert_eq!(status, 0, "wait status of the child");
    assert_eq!(memory(start, 32), [9; 32], "the parent's slot is as it was");
    drop(inherited);
}

fn child_works(inherited: Slot<[u8; 32]>) -> bool {
    let arena = inherited.arena;
    drop(inherited);
    let own = Slot::copy_of(&[5; 32]);
    own.is_ok_and(|own| *own == [5; 32] && !std::ptr::eq(own.arena, arena))
}

#[test]
fn without_locked_memory_there_is_an_error_and_no_slot() {
    const ROLE: &str = "KEYSTEAD_TEST_LITTLE_LOCKED_MEMORY";
    if std::env::var_os(ROLE).is_some() {
        return run_out_of_locked_memory();
    }
    // The limit is one of the whole process, so it is lowered in another one.
    let name = "memory::slot::tests::without_locked_memory_there_is_an_error_and_no_slot";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(ROLE, "1")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{printed}");
    assert!(printed.contains("ran out after"), "the child did its part: {printed}");
}

fn run_out_of_locked_memory() {
    const LIMIT: usize = 64 * 1024;
    let limit = libc::rlimit { rlim_cur: LIMIT as u64, rlim_max: LIMIT as u64 };
    // SAFETY: lowers a limit and, where there are any, gives up privileges that lift it, in a process of the test's own.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
    }
    for tier in offered() {
        let arena = arena(tier);
        let mut slots = Vec::new();
        let refusal = loop {
            match Slot::within(arena, || Ok([1_u8; 32])) {
                Ok(slot) => slots.push(slot),
                Err(refusal) => break refusal,
            }
            assert!(slots.len() * SLOT_SIZE <= LIMIT, "{tier}: more slots than may be locked");
        };
        assert_eq!(refusal.code(), Code::MemoryExhausted);
        assert!(refusal.message().contains("RLIMIT_MEMLOCK) is 65536 bytes"), "{refusal}");
        println!("{tier}: ran out after {} slots: {refusal}", slots.len());
        assert!(slots.len() * SLOT_SIZE >= LIMIT / 2, "{tier}: what may be locked is used");
        drop(slots.pop());
        assert!(Slot::within(arena, || Ok([1_u8; 32])).is_ok(), "{tier}: a slot that came back is used");
        drop(slots);
        unmap_all(arena);
    }
}

/// Gives the locked memory back to the next tier's turn.
fn unmap_all(arena: &'static Arena) {
    for slot in arena.lock().slots.drain(..) {
        let page = slot.0.as_ptr() as usize & !(pages::page_size() - 1);
        // SAFETY: nobody uses the arena any more; unmapping a page twice does nothing.
        unsafe { libc::munmap(page as *mut libc::c_void, pages::page_size()) };
    }
}
