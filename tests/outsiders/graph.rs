//! What holds itself, and what threads hold.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::ground::{Ground, LEAK_BYTES_PER_SECOND, Pace, rest};

struct Node {
    data: Vec<u8>,
    children: Vec<Arc<Mutex<Node>>>,
    parent: Option<Arc<Mutex<Node>>>,
}

impl Node {
    fn with_data(bytes: usize) -> Arc<Mutex<Node>> {
        Arc::new(Mutex::new(Node { data: vec![1; bytes], children: Vec::new(), parent: None }))
    }
}

fn build_tree() -> usize {
    let root = Node::with_data(1_024);
    for _ in 0..3 {
        let child = Node::with_data(1_024);
        if let Ok(mut child) = child.lock() {
            child.parent = Some(Arc::clone(&root));
        }
        if let Ok(mut root) = root.lock() {
            root.children.push(child);
        }
    }
    root.lock().map_or(0, |root| root.data.len() + root.children.len())
}

pub(crate) fn node_cycles(ground: &'static Ground) {
    // Four nodes of 1,024 and 80, and a vector of four children.
    ground.every(4 * (1_024 + 80) + 32, |_| {
        build_tree();
    });
}

struct Widget {
    name: String,
    owner: RefCell<Option<Rc<Widget>>>,
    parts: RefCell<Vec<Rc<Widget>>>,
    #[expect(dead_code, reason = "as it should have been used")]
    window: Weak<Widget>,
}

fn make_widget(name: String) -> Rc<Widget> {
    Rc::new(Widget { name, owner: RefCell::default(), parts: RefCell::default(), window: Weak::new() })
}

fn assemble(number: u64) -> usize {
    let window = make_widget(format!("window {number:0500}"));
    let button = make_widget(format!("button {number:0500}"));
    *button.owner.borrow_mut() = Some(Rc::clone(&window));
    window.parts.borrow_mut().push(button);
    window.name.len()
}

pub(crate) fn rc_on_a_thread(ground: &'static Ground) {
    // Two names of 507 characters that doubled to 896, two heads of 96, a vector.
    let _ = thread::spawn(|| {
        ground.every(2 * (896 + 96) + 32, |number| {
            assemble(number);
        });
    })
    .join();
}

thread_local! {
    static HISTORY: RefCell<Vec<[u8; 256]>> = const { RefCell::new(Vec::new()) };
    static NOTES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn remember_note(number: u64) {
    let note: Box<[u8]> = vec![number as u8; 640].into();
    NOTES.with_borrow_mut(|notes| notes.push(note));
    if number.is_multiple_of(1_000) {
        HISTORY.with_borrow_mut(|history| history.push([0; 256]));
    }
}

pub(crate) fn thread_histories(ground: &'static Ground) {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let pace = Pace::new(LEAK_BYTES_PER_SECOND / 4);
                for number in 0.. {
                    while !pace.is_due(640) {
                        rest();
                    }
                    remember_note(number);
                    ground.leaked(640);
                }
            });
        }
    });
}

fn start_job(number: u64) {
    let input = vec![number as u8; 100_000];
    let _ = thread::Builder::new().stack_size(64 << 10).spawn(move || {
        // Waits for an answer that never comes.
        thread::park();
        loop {
            thread::park();
            if input[0] == 255 && input.len() < 3 {
                return;
            }
        }
    });
}

pub(crate) fn unjoined_threads(ground: &'static Ground) {
    // Twenty-five pages.
    ground.every(102_400, start_job);
}

trait Plugin {
    fn on_request(&mut self, path: &str);
}

#[derive(Default)]
struct Statistics {
    paths: Vec<String>,
}

#[derive(Default)]
struct Logger {
    last: String,
}

impl Plugin for Statistics {
    fn on_request(&mut self, path: &str) {
        if !self.paths.iter().rev().take(10).any(|known| known == path) {
            self.paths.push(path.to_owned());
        }
    }
}

impl Plugin for Logger {
    fn on_request(&mut self, path: &str) {
        self.last = path.to_uppercase();
    }
}

pub(crate) fn plugins(ground: &'static Ground) {
    let mut plugins: Vec<Box<dyn Plugin>> = vec![Box::<Logger>::default(), Box::<Statistics>::default()];
    ground.every(384, |number| {
        let path = format!("/{number:0383}");
        plugins.iter_mut().for_each(|plugin| plugin.on_request(&path));
    });
}
