use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;

fn main() {
    let mut bytes = [0u8; 8];
    File::open("/dev/urandom").and_then(|mut device| device.read_exact(&mut bytes)).expect("/dev/urandom");
    println!("/dev/urandom {:016x}", u64::from_ne_bytes(bytes));
    println!("RandomState {:016x}", RandomState::new().build_hasher().finish());
}
