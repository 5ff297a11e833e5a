macro_rules! endless {
    ($($token:tt)*) => { endless!($($token)* $($token)* more) };
}

fn main() {
    endless!(more);
}
