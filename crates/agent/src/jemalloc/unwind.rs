//! Stacks for the profiler: the steps from a frame to its caller's are learnt once an address and then looked up.
//!
//! jemalloc's own unwinder (libgcc) finds and interprets the call frame information of each frame each time, some 7 µs a
//! sample. The walk here looks each return address up in a table of [`Steps`] and reads two words of the
//! stack. An address that is not in the table yet is left to jemalloc's unwinder, with the whole stack, and noted; the
//! sampler's thread [learns](learn) it from the same call frame information meanwhile ([`frames`]). So the hook itself
//! takes no lock, allocates nothing, reads no file, and is right about every frame or does not answer.
//!
//! Only addresses in the program and in the libraries it was linked with are learnt: these are never unloaded.
//! What it saves is in docs/live-table.md.

mod frames;
mod memory;
mod objects;
mod steps;

use std::ffi::{c_uint, c_void};
use std::mem::MaybeUninit;
use std::ptr::with_exposed_provenance;
use std::slice;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::Serialize;
use tikv_jemalloc_ctl::{Error, raw};

use objects::Objects;
use steps::{Base, Step, Steps};

/// What `/doctor` and the metric call it.
pub(crate) const NAME: &str = "heapline";

type Backtrace = extern "C" fn(*mut *mut c_void, *mut c_uint, c_uint);

const BACKTRACE: &[u8] = b"experimental.hooks.prof_backtrace\0";
/// Frames of a stack: jemalloc keeps no more.
const DEPTH_MAX: usize = 256;
/// A frame that is larger is taken for a misunderstanding.
const FRAME_BYTES_MAX: u64 = 64 << 20;
/// Frames of the hook and the built-in unwinder, at most.
const OWN_FRAMES_MAX: usize = 8;
/// Walks before the first of the profiler's.
const SELF_TESTS: usize = 3;
/// Walks that are compared with jemalloc's unwinder whenever something was learnt; of the others, one of so many.
const CHECKS: u64 = 64;
const CHECKED_EVERY: u64 = 4096;

static STEPS: Steps = Steps::new();
static OBJECTS: Mutex<Option<Objects>> = Mutex::new(None);
static BUILT_IN: OnceLock<Backtrace> = OnceLock::new();
static TRUSTED: AtomicBool = AtomicBool::new(false);
static CHECKS_LEFT: AtomicU64 = AtomicU64::new(CHECKS);
static WALKED: AtomicU64 = AtomicU64::new(0);
static LEFT: AtomicU64 = AtomicU64::new(0);

/// Why stacks come from jemalloc's own unwinder.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnwindError {
    #[error("no registers are known of this processor")]
    Processor,
    #[error("this jemalloc has no hook for it: {0}")]
    Hook(Error),
    #[error("the program's call frame information cannot be read: {0}")]
    Objects(std::io::Error),
    #[error("it did not find the stack that jemalloc's unwinder finds")]
    SelfTest,
}

/// How many stacks were unwound, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unwound {
    /// By steps looked up.
    pub(crate) here: u64,
    /// By jemalloc's own unwinder.
    pub(crate) built_in: u64,
}

/// What the machine holds at one place of a function.
#[derive(Clone, Copy, Debug)]
struct Registers {
    /// As a return address would stand there.
    return_address: u64,
    stack_pointer: u64,
    frame_pointer: u64,
}

/// Has jemalloc's profiler unwind by [`Steps`], if that finds the same stack as its own unwinder here and now.
///
/// # Errors
///
/// [`UnwindError`]: everything stays as it was.
pub(crate) fn install() -> Result<(), UnwindError> {
    if BUILT_IN.get().is_some() {
        return Ok(());
    }
    registers().ok_or(UnwindError::Processor)?;
    // SAFETY: a pointer to a function of this signature (prof_hook.h), never null.
    let built_in = unsafe { raw::read::<Backtrace>(BACKTRACE) }.map_err(UnwindError::Hook)?;
    let objects = Objects::find().map_err(UnwindError::Objects)?;
    *OBJECTS.lock().unwrap_or_else(PoisonError::into_inner) = Some(objects);
    let _ = BUILT_IN.set(built_in);
    TRUSTED.store(true, Relaxed);
    // Not unrolled: the same addresses each time.
    for _ in 0..std::hint::black_box(SELF_TESTS) {
        // The first leaves the stack to the built-in unwinder, which tells the addresses to learn.
        unwound_here();
        learn();
    }
    if WALKED.load(Relaxed) == 0 || !TRUSTED.load(Relaxed) {
        TRUSTED.store(false, Relaxed);
        return Err(UnwindError::SelfTest);
    }
    // SAFETY: a function of the signature in prof_hook.h, which lives as long as the program.
    unsafe { raw::write::<Backtrace>(BACKTRACE, on_backtrace) }.map_err(UnwindError::Hook)
}

/// Whether steps are looked up; else all is left to jemalloc's own unwinder.
pub(crate) fn is_in_use() -> bool {
    TRUSTED.load(Relaxed)
}

pub(crate) fn unwound() -> Unwound {
    Unwound { here: WALKED.load(Relaxed), built_in: LEFT.load(Relaxed) }
}

/// Learns the addresses that stacks went by since the last time. Cost: one load while there are none; else some 20 µs each.
pub(crate) fn learn() {
    if !STEPS.has_wanted() {
        return;
    }
    let objects = OBJECTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(objects) = &*objects {
        objects.learn(&STEPS);
        CHECKS_LEFT.store(CHECKS, Relaxed);
    }
}

/// The depth of the stack that the hook finds from here.
#[inline(never)]
fn unwound_here() -> c_uint {
    let (mut frames, mut len) = ([std::ptr::null_mut(); DEPTH_MAX], 0);
    on_backtrace(frames.as_mut_ptr(), &mut len, DEPTH_MAX as c_uint);
    std::hint::black_box(&frames);
    len
}

extern "C" fn on_backtrace(frames: *mut *mut c_void, len: *mut c_uint, frames_max: c_uint) {
    let Some(here) = registers() else { return };
    if frames.is_null() || len.is_null() {
        return;
    }
    // SAFETY: jemalloc passes room for `frames_max` addresses (prof_sys.c, `prof_backtrace`), its thread's own. A pointer is
    // as large as a usize, and nothing is read that was not written.
    let room = unsafe { slice::from_raw_parts_mut(frames.cast::<MaybeUninit<usize>>(), frames_max as usize) };
    let found = if TRUSTED.load(Relaxed) { walk(here, room) } else { None };
    let depth = match found {
        Some(depth) => {
            let walked = WALKED.fetch_add(1, Relaxed);
            let is_new = CHECKS_LEFT.load(Relaxed) > 0;
            if is_new || walked.is_multiple_of(CHECKED_EVERY) { checked(here, room, depth) } else { depth }
        }
        None => {
            LEFT.fetch_add(1, Relaxed);
            let depth = built_in(here, room);
            STEPS.want(here.return_address);
            written(room, depth).for_each(|address| STEPS.want(address as u64));
            depth
        }
    };
    // SAFETY: not null, and jemalloc's thread's own.
    unsafe { len.write(depth as c_uint) };
}

/// The stack by the table; `None` where an address is not in it.
fn walk(here: Registers, room: &mut [MaybeUninit<usize>]) -> Option<usize> {
    let mut at = here;
    let mut depth = 0;
    while let Some(caller) = caller(at)? {
        let Some(place) = room.get_mut(depth) else { break };
        place.write(caller.return_address as usize);
        depth += 1;
        at = caller;
    }
    Some(depth)
}

/// One step. Outside: not known. Inside: there is none.
fn caller(at: Registers) -> Option<Option<Registers>> {
    let (base, offset_bytes, saved_at) = match STEPS.get(at.return_address)? {
        Step::Caller { base, offset_bytes, saved_at } => (base, offset_bytes, saved_at),
        Step::Outermost => return Some(None),
        Step::Unknown => return None,
    };
    let base = match base {
        Base::StackPointer => at.stack_pointer,
        Base::FramePointer => at.frame_pointer,
    };
    let frame = base.wrapping_add_signed(offset_bytes.into());
    // Stacks grow downwards: the caller's frame is above, and it is aligned.
    let is_above = frame > at.stack_pointer && frame - at.stack_pointer <= FRAME_BYTES_MAX;
    if !is_above || !frame.is_multiple_of(8) {
        return None;
    }
    let return_address = stack_word(frame - 8);
    let frame_pointer = match saved_at {
        Some(offset) => stack_word(frame.wrapping_add_signed(offset.into())),
        None => at.frame_pointer,
    };
    Some((return_address != 0).then_some(Registers { return_address, stack_pointer: frame, frame_pointer }))
}

/// What jemalloc's unwinder finds, from the hook's caller on.
fn built_in(here: Registers, room: &mut [MaybeUninit<usize>]) -> usize {
    let Some(built_in) = BUILT_IN.get() else { return 0 };
    let mut len: c_uint = 0;
    built_in(room.as_mut_ptr().cast(), &mut len, room.len() as c_uint);
    let depth = (len as usize).min(room.len());
    // Its own frame and the hook's come first.
    let hooks_caller = caller(here).flatten().map(|caller| caller.return_address as usize);
    let own = written(room, depth).take(OWN_FRAMES_MAX).position(|address| Some(address) == hooks_caller).unwrap_or(0);
    room.copy_within(own..depth, 0);
    depth - own
}

/// The stack found, if jemalloc's unwinder finds the same; else that one's, and it is left to it from here on.
#[inline(never)]
fn checked(here: Registers, room: &mut [MaybeUninit<usize>], depth: usize) -> usize {
    let left = CHECKS_LEFT.load(Relaxed);
    // Of two threads at once, one counts.
    let _ = CHECKS_LEFT.compare_exchange(left, left.saturating_sub(1), Relaxed, Relaxed);
    let mut other = [MaybeUninit::uninit(); DEPTH_MAX];
    let other_max = room.len().min(DEPTH_MAX);
    let other_depth = built_in(here, &mut other[..other_max]);
    let cut = depth == room.len() || other_depth + OWN_FRAMES_MAX >= other_max;
    let same = written(room, depth).zip(written(&other, other_depth)).all(|(one, other)| one == other);
    if same && (cut || depth == other_depth) {
        return depth;
    }
    TRUSTED.store(false, Relaxed);
    room[..other_depth].copy_from_slice(&other[..other_depth]);
    other_depth
}

fn written(room: &[MaybeUninit<usize>], depth: usize) -> impl Iterator<Item = usize> {
    // SAFETY: whoever says the depth has written as many.
    room.iter().take(depth).map(|place| unsafe { place.assume_init() })
}

#[inline(always)]
fn stack_word(address: u64) -> u64 {
    // SAFETY: a place in a frame of the calling thread's own stack, as the call frame information says that the compiler
    // wrote for it: an exception that came by would read the same word.
    unsafe { with_exposed_provenance::<u64>(address as usize).read_volatile() }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn registers() -> Option<Registers> {
    let (place, stack_pointer, frame_pointer): (u64, u64, u64);
    // SAFETY: reads three registers into three others; touches no memory, no stack and no flags.
    unsafe {
        std::arch::asm!(
            "lea {place}, [rip]",
            "mov {stack}, rsp",
            "mov {frame}, rbp",
            place = out(reg) place,
            stack = out(reg) stack_pointer,
            frame = out(reg) frame_pointer,
            options(nomem, nostack, preserves_flags),
        );
    }
    // A step is looked up for the call, which is before the return address.
    Some(Registers { return_address: place + 1, stack_pointer, frame_pointer })
}

#[cfg(not(target_arch = "x86_64"))]
fn registers() -> Option<Registers> {
    None
}
