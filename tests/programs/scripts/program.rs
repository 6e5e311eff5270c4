// SPDX-License-Identifier: GPL-2.0-or-later
use std::collections::HashMap; use std::sync::{mpsc, Arc, Mutex}; use std::thread;
fn main() {
    let total = Arc::new(Mutex::new(0u64)); let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..4u64).map(|i| { let (t, s) = (total.clone(), sender.clone());
        thread::spawn(move || { for k in 0..100 { *t.lock().unwrap() += i * k; } s.send(i).unwrap(); }) }).collect();
    for t in threads { t.join().unwrap(); }
    drop(sender); let mut got: Vec<u64> = receiver.iter().collect(); got.sort();
    println!("{} {:?}", total.lock().unwrap(), got);
    let map: HashMap<u32, u32> = (0..100).map(|i| (i, i * i)).collect(); println!("{}", map.values().sum::<u32>());
    println!("{:?}", thread::spawn(|| { panic!("in a thread") }).join().is_err());
    println!("{:?}", std::fs::read_to_string("/nowhere").unwrap_err().kind());
}
