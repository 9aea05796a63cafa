//! One value at a time that many threads use while another thread may replace it, at the cost of two atomic additions.
//!
//! Each use draws a ticket: a number that no other use of the same value has. The counter that gives the numbers also
//! tells how many uses there were, so a value that was replaced is dropped by whoever finishes its last use. There is no
//! thread-local state, and nobody waits for anybody.

use std::cell::UnsafeCell;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use crate::platform::ProcessStamp;

/// How many values that were replaced may still be in use.
const PLACES: usize = 16;

/// The number of the current place in the upper bits, how many numbers were drawn there in the others.
const PLACE_SHIFT: u32 = 48;
const DRAWN: u64 = (1 << PLACE_SHIFT) - 1;
/// The place that holds no value.
const NOTHING: u64 = (PLACES as u64) << PLACE_SHIFT;

/// The current value, and those before it that are still in use.
pub struct Ticketed<T> {
    current: Current,
    places: Box<[Place<T>]>,
    /// Held by who replaces the value.
    change: Mutex<()>,
    process: ProcessStamp,
}

/// On a cache line of its own, because every use writes it.
#[repr(align(64))]
struct Current(AtomicU64);

#[repr(align(64))]
struct Place<T> {
    /// How many numbers were returned, less those that were drawn once that is known: zero again when nobody uses the value.
    returned: AtomicU64,
    is_taken: AtomicBool,
    value: UnsafeCell<Option<Box<T>>>,
}

// SAFETY: the value is shared by reference with every thread that draws a ticket, and dropped by any of them.
unsafe impl<T: Send + Sync> Sync for Ticketed<T> {}

impl<T> Default for Ticketed<T> {
    /// Without a value.
    fn default() -> Ticketed<T> {
        let place =
            || Place { returned: AtomicU64::new(0), is_taken: AtomicBool::new(false), value: UnsafeCell::new(None) };
        Ticketed {
            current: Current(AtomicU64::new(NOTHING)),
            places: std::iter::repeat_with(place).take(PLACES).collect(),
            change: Mutex::new(()),
            process: ProcessStamp::current(),
        }
    }
}

impl<T> Ticketed<T> {
    /// Uses the current value, if there is one, and draws the next `count` numbers of it: at least one, and of one value
    /// fewer than 2^48 in all.
    #[inline]
    pub fn draw(&self, count: u64) -> Option<Ticket<'_, T>> {
        let count = count.max(1);
        let drawn = self.current.0.fetch_add(count, Ordering::Acquire);
        let place = self.places.get((drawn >> PLACE_SHIFT) as usize)?;
        // SAFETY: the number was drawn while the place was current. Until it is returned, the place's count does not come
        // back to zero, and the value is neither dropped nor written.
        let value = unsafe { &*place.value.get() }.as_deref()?;
        Some(Ticket { place, value, first: drawn & DRAWN, count })
    }

    /// Replaces the current value, unless another one than that of `seen` is there already.
    ///
    /// When it returns, no new use finds the value of `seen`, also where `make` fails. Where threads were held up in the
    /// middle of a use so long that all places are taken, it returns without a value, for the caller to try again.
    pub fn replace<E>(&self, seen: Option<&Ticket<'_, T>>, make: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        // In a forked child the lock may be held for ever, by a thread that the child lacks. `make` has to refuse there.
        if !self.process.is_current() {
            return make().map(drop);
        }
        let _turn = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.places.get((self.current.0.load(Ordering::Relaxed) >> PLACE_SHIFT) as usize);
        // The place of `seen` cannot have been given to another value while the ticket is held.
        if current.map(std::ptr::from_ref) != seen.map(|ticket| std::ptr::from_ref(ticket.place)) {
            return Ok(());
        }
        self.clear();
        let is_free = |place: &Place<T>| !place.is_taken.load(Ordering::Acquire);
        let Some(number) = self.places.iter().position(is_free) else {
            std::thread::yield_now();
            return Ok(());
        };
        let made = Box::new(make()?);
        let place = &self.places[number];
        // SAFETY: the place is not taken, so that nobody refers to it, and only the holder of the lock takes one.
        unsafe { *place.value.get() = Some(made) };
        place.is_taken.store(true, Ordering::Relaxed);
        self.current.0.store((number as u64) << PLACE_SHIFT, Ordering::Release);
        Ok(())
    }

    /// Lets go of the current value: no new use finds it. One that [`Ticketed::replace`] is just making comes after it.
    pub fn clear(&self) {
        let last = self.current.0.swap(NOTHING, Ordering::AcqRel);
        if let Some(place) = self.places.get((last >> PLACE_SHIFT) as usize) {
            place.settle((last & DRAWN).wrapping_neg());
        }
    }
}

impl<T> Place<T> {
    /// Adds to what was returned; whoever brings it to zero drops the value.
    ///
    /// While the value is current it only grows from zero, and is not asked: what is drawn is at least as much.
    #[inline]
    fn settle(&self, returned: u64) {
        if self.returned.fetch_add(returned, Ordering::Release).wrapping_add(returned) == 0 {
            self.vacate();
        }
    }

    #[cold]
    fn vacate(&self) {
        fence(Ordering::Acquire);
        // SAFETY: the value was replaced and all that was drawn is returned, so nobody refers to it.
        drop(unsafe { (*self.value.get()).take() });
        self.is_taken.store(false, Ordering::Release);
    }
}

/// A value in use, and numbers of it that no other ticket has.
pub struct Ticket<'a, T> {
    place: &'a Place<T>,
    value: &'a T,
    /// The first of the numbers. They count from zero for each value.
    pub first: u64,
    count: u64,
}

impl<T> Deref for Ticket<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Ticket<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.place.settle(self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    /// Counts how many of its kind are alive.
    struct Counted(Arc<AtomicUsize>, u64);

    impl Counted {
        fn new(alive: &Arc<AtomicUsize>, number: u64) -> Counted {
            alive.fetch_add(1, Ordering::SeqCst);
            Counted(alive.clone(), number)
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn replace<T>(values: &Ticketed<T>, value: T) {
        let seen = values.draw(1);
        values.replace(seen.as_ref(), || Ok::<_, ()>(value)).unwrap();
    }

    #[test]
    fn a_replaced_value_lives_until_its_last_use_ends() {
        let alive = Arc::new(AtomicUsize::new(0));
        let values = Ticketed::default();
        assert!(values.draw(1).is_none());
        replace(&values, Counted::new(&alive, 1));
        let (one, other) = (values.draw(1).unwrap(), values.draw(1).unwrap());
        replace(&values, Counted::new(&alive, 2));
        assert_eq!((one.1, values.draw(1).unwrap().1, alive.load(Ordering::SeqCst)), (1, 2, 2));
        drop(one);
        assert_eq!(alive.load(Ordering::SeqCst), 2);
        drop(other);
        assert_eq!(alive.load(Ordering::SeqCst), 1);
        values.clear();
        assert_eq!(alive.load(Ordering::SeqCst), 0);
        assert!(values.draw(1).is_none());
    }

    #[test]
    fn who_saw_an_older_value_replaces_nothing() {
        let values = Ticketed::default();
        replace(&values, 1);
        let seen = values.draw(1).unwrap();
        replace(&values, 2);
        values.replace(Some(&seen), || Ok::<_, ()>(3)).unwrap();
        values.replace(None, || Ok::<_, ()>(4)).unwrap();
        assert_eq!(*values.draw(1).unwrap(), 2);
    }

    #[test]
    fn a_value_that_cannot_be_made_leaves_none() {
        let values = Ticketed::default();
        replace(&values, 1);
        let seen = values.draw(1);
        assert_eq!(values.replace(seen.as_ref(), || Err("no")), Err("no"));
        assert!(values.draw(1).is_none());
        drop(seen);
        replace(&values, 2);
        assert_eq!(*values.draw(1).unwrap(), 2);
    }

    #[test]
    fn with_a_use_held_up_in_every_place_the_next_value_waits_for_one_to_end() {
        let values = Ticketed::default();
        let mut held: Vec<_> = (0..PLACES)
            .map(|number| {
                replace(&values, number);
                values.draw(1).unwrap()
            })
            .collect();
        values.replace(held.last(), || Ok::<_, ()>(0)).unwrap();
        assert!(values.draw(1).is_none());
        held.remove(0);
        values.replace(None, || Ok::<_, ()>(PLACES)).unwrap();
        assert_eq!(*values.draw(1).unwrap(), PLACES);
        assert!(held.iter().map(|ticket| **ticket).eq(1..PLACES));
    }

    #[test]
    fn every_number_is_drawn_once_while_threads_replace_the_value() {
        const THREADS: usize = 4;
        let alive = Arc::new(AtomicUsize::new(0));
        let values = Ticketed::<Counted>::default();
        let next = AtomicU64::new(0);
        let drawn: Vec<Vec<(u64, u64)>> = std::thread::scope(|scope| {
            let draw = || {
                let mut mine = Vec::new();
                while mine.len() < 20_000 {
                    let ticket = values.draw(1);
                    match &ticket {
                        Some(ticket) if ticket.first < 100 => mine.push((ticket.1, ticket.first)),
                        _ => {
                            let make = || Ok::<_, ()>(Counted::new(&alive, next.fetch_add(1, Ordering::Relaxed)));
                            values.replace(ticket.as_ref(), make).unwrap();
                        }
                    }
                }
                mine
            };
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(draw)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let all: std::collections::HashSet<_> = drawn.iter().flatten().collect();
        assert_eq!(all.len(), THREADS * 20_000);
        values.clear();
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }
}
